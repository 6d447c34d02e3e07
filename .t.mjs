const p0=performance.now();
for (const m of process.argv.slice(2)){const t=performance.now();await import(m);console.log(m,(performance.now()-t).toFixed(1));}
console.log("boot",p0.toFixed(1),"total",performance.now().toFixed(1));
