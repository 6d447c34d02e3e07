/** The version of this package, the same as in package.json: bundles and Workers have no such file beside them. */
export const version = "1.0.0";
