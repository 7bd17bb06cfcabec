import process from "node:process";
const m = await import("../src/testing/simulator/mod.ts");
const pool = new m.SqlitePool(); await pool.fill(m.SIMULATION_INSTANCES);
const name = process.argv[2]; const n = Number(process.argv[3]);
const profile = m.PROFILES.find((p:any)=>p.name===name);
let ev=0, sim=0, bad=0; const t0=performance.now(); const c0=process.cpuUsage();
const hashes=[];
for (let s=1;s<=n;s++){ const r=await m.simulate({seed:s,profile,pool}); ev+=r.events; sim+=r.simulatedMs; bad+=r.violations.length; hashes.push(r.traceHash);}
const dt=performance.now()-t0; const c=process.cpuUsage(c0);
console.log(name,n,"seeds",(dt/n).toFixed(1),"ms/seed cpu",((c.user+c.system)/1000/n).toFixed(1),"events/seed",Math.round(ev/n),"us/event",(dt*1000/ev).toFixed(0),"sim s/seed",(sim/n/1000).toFixed(1),"bad",bad,"gc? hash",hashes.slice(0,3).join());
