import process from "node:process";
const m = await import("../src/testing/simulator/mod.ts");
const vt = await import("../src/testing/simulator/virtual-time.ts");
const pool = new m.SqlitePool(); await pool.fill(m.SIMULATION_INSTANCES);
const name = process.argv[2]; const n = Number(process.argv[3]);
const profile = m.PROFILES.find((p:any)=>p.name===name);
// by time bucket
const byS=new Map<number,number>(), kinds=new Map<string,number>();
const orig=vt.VirtualTime.prototype.schedule;
vt.VirtualTime.prototype.schedule=function(this:any,d:number,run:any,o:any){ const self=this; const st=new Error().stack!.split("\n").slice(2,4).map(x=>x.trim().replace(/.*at /,"").replace(/\(.*\/src/,"(")).join(" < "); return orig.call(this,d,()=>{ const s=Math.floor(self.nowMs/4000)*4; byS.set(s,(byS.get(s)??0)+1); kinds.set(st,(kinds.get(st)??0)+1); run();},o)} as any;
for (let s=1;s<=n;s++) await m.simulate({seed:s,profile,pool});
console.log([...byS].sort((a,b)=>a[0]-b[0]).map(([s,c])=>s+"s:"+Math.round(c/n)).join(" "));
console.log([...kinds].sort((a,b)=>b[1]-a[1]).slice(0,25).map(([s,c])=>(c/n).toFixed(0).padStart(6)+" "+s).join("\n"));
