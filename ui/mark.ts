/** Mark of the built-in page: an open door. */
export const mark: string = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" role="img" aria-label="OpenWork">
<rect x="6" y="3" width="20" height="26" rx="3" fill="none" stroke="#1f6f4a" stroke-width="2.5"/>
<path d="M6.5 4.5 18 8v18L6.5 28z" fill="#1f6f4a"/>
<circle cx="14.5" cy="17" r="1.6" fill="#fff"/>
</svg>
`;
