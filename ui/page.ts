/**
 * The built-in page: status of the server and the writes that wait for the host. `root` is the relative way from
 * the page to the root of the server: so its links are right below any path and behind any proxy.
 */
export const page = (root: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>OpenWork Server</title>
<link rel="icon" id="icon" href="${root}ui/assets/openwork-mark.svg">
<link rel="stylesheet" href="${root}ui/assets/toy.css">
<script type="module" src="${root}ui/assets/toy.js"></script>
</head>
<body>
<header>
  <img src="${root}ui/assets/openwork-mark.svg" alt="" width="28" height="28">
  <h1>OpenWork Server</h1>
  <p id="connection" role="status">connecting…</p>
</header>
<noscript><p class="notice">This page needs JavaScript. Everything it shows is at <code>/status</code> and <code>/approvals</code>.</p></noscript>
<main>
  <section id="sign-in" hidden>
    <h2>Sign in</h2>
    <p>Paste the <strong>host token</strong> that the server printed at its start: it opens the approvals. The <strong>client token</strong> adds the status. A token of scope <em>owner</em> does for both.</p>
    <form id="sign-in-form">
      <label for="host-token">Host or owner token</label>
      <input id="host-token" type="password" autocomplete="off" spellcheck="false">
      <label for="client-token">Client token</label>
      <input id="client-token" type="password" autocomplete="off" spellcheck="false">
      <button type="submit">Sign in</button>
    </form>
    <p id="sign-in-error" class="error" role="alert" hidden></p>
  </section>
  <section id="approvals" hidden>
    <h2 id="waiting" tabindex="-1">Waiting for you <span id="count" class="count">0</span></h2>
    <p id="news" class="spoken" role="status"></p>
    <p id="nothing">Nothing waits. <span id="outlook">A write shows up here with its diff the moment a client sends it.</span></p>
    <p id="read-only" class="notice" hidden>This server is read-only: it refuses every write, so nothing will wait here.</p>
    <p id="not-host" class="notice" hidden><span id="host-refused" hidden>What was given as host or owner token is neither. </span>This token may look, not decide: sign in with the host token or an owner token to see and answer what waits.</p>
    <p id="auto" class="notice" hidden>This server allows every write by itself (approval mode <code>auto</code>); nothing will wait here.</p>
    <ol id="list"></ol>
  </section>
  <section id="status" hidden>
    <h2>Status</h2>
    <dl id="facts"></dl>
    <button type="button" id="sign-out" class="quiet">Forget the tokens</button>
  </section>
</main>
<template id="approval">
  <li class="approval">
    <h3></h3>
    <p class="by"></p>
    <ul class="paths" tabindex="0" aria-label="Paths that will change"></ul>
    <pre class="diff" tabindex="0" role="group" aria-label="What will change"></pre>
    <p class="answer">
      <button type="button" class="allow">Allow</button>
      <button type="button" class="deny">Deny</button>
      <span class="left"></span>
      <span class="error" role="alert"></span>
    </p>
  </li>
</template>
</body>
</html>
`;
