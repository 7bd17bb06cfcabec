import process from "node:process";
const m = await import("../src/testing/simulator/mod.ts");
const pool = new m.SqlitePool(); await pool.fill(m.SIMULATION_INSTANCES);
const profile = m.PROFILES.find((p:any)=>p.name===process.argv[2]);
let t=performance.now();
for (let s=1;s<=600;s++) { await m.simulate({seed:s%50,profile,pool}); if(s%50===0){const n=performance.now(); console.log(s,((n-t)/50).toFixed(0),Math.round(process.memoryUsage().rss/1e6)); t=n;} }
