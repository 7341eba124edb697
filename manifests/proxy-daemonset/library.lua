-- memcached-injector: routing library of the memcached proxy. Made from src/routing/lua, where it is explained.
local M={}
M.TIMEOUT=0.2
memcached_proxy=memcached_proxy or{}
do
local FORMAT<const> =1
local function only_data(text)
local at,size=1,#text
while at<=size do
local to=select(2,string.find(text,"^%-%-[^\n]*",at))or select(2,string.find(text,'^"[^"\\\n]*"',at))
or select(2,string.find(text,"^[%w_%s{}=,;]+",at))or select(2,string.find(text,"^%-%f[%d]",at))
if not to then return false,string.sub(text,at,at)end
at=to+1
end
return true
end
local function fail(field,problem)error("field ".. field ..": ".. problem,0)end
local function shown(value)return type(value)=="string"and'"'.. value ..'"'or tostring(value)end
local function integer(field,value,low,high)
if math.type(value)~="integer"or value<low or value>high then
fail(field,shown(value).." is not a whole number from ".. low .." to ".. high)
end
end
local function one_of(field,value,...)
for _,known in ipairs({...})do if value==known then return end end
fail(field,shown(value).." is none of ".. table.concat({...},", "))
end
function M.address(server)
local host,port=string.match(server,"^([%w%.%-_]+):(%d+)$")
if not host then host,port=string.match(server,"^%[([%x:]+)%]:(%d+)$")end
local number=math.tointeger(tonumber(port))
if host and#host<255 and#port<6 and number>0 and number<65536 then return host,port end
end
local function server(field,value)
if type(value)~="string"or not M.address(value)then fail(field,shown(value).." is not host:port")end
end
local function list(field,value)
if type(value)~="table"or#value==0 then fail(field,shown(value).." is not a list of at least one")end
local count=0
for _ in pairs(value)do count=count+1 end
if count~=#value then fail(field,"has keys that are not 1 to "..#value)end
end
local CHECKS={
format=function()end,
mode=function(_,v)one_of("mode",v,"replicated","failover","sharded")end,
cluster=function(_,v)if type(v)~="string"or v==""then fail("cluster",shown(v).." is not a name")end end,
epoch=function(_,v)integer("epoch",v,0,math.maxinteger)end,
consistency=function(_,v)one_of("consistency",v,"coherent","fastest")end,
replicas=function(_,v)
list("replicas",v)
local seen={}
for r,servers in ipairs(v)do
list("replicas[".. r .."]",servers)
for i,name in ipairs(servers)do
local field="replicas[".. r .."][".. i .."]"
server(field,name)
if seen[name]then fail(field,shown(name).." is already ".. seen[name])end
seen[name]=field
end
end
end,
copies=function(conf,v)
if#conf.replicas>1 then integer("copies",v,#conf.replicas,#conf.replicas)
else integer("copies",v,1,conf.mode=="sharded"and 1 or#conf.replicas[1])end
end,
local_cache=function(conf,v)
if conf.mode~="failover"then
if v~=nil then fail("local_cache","belongs to mode failover only")end
return
end
if type(v)~="table"then fail("local_cache",shown(v).." is not a table; mode failover needs one")end
if v.server~="internal"then server("local_cache.server",v.server)end
integer("local_cache.ttl",v.ttl,1,2592000)
for name in pairs(v)do if name~="server"and name~="ttl"then fail("local_cache.".. tostring(name),"unknown")end end
end,
}
local FIELDS={"format","mode","cluster","epoch","consistency","replicas","copies","local_cache"}
local function check(conf)
if type(conf)~="table"then error("is not one table constructor",0)end
if conf.format~=FORMAT then fail("format",shown(conf.format).." is not ".. FORMAT ..", the only one this library reads")end
for _,name in ipairs(FIELDS)do CHECKS[name](conf,conf[name])end
for name in pairs(conf)do if not CHECKS[name]then fail(tostring(name),"unknown in format ".. FORMAT)end end
return conf
end
function M.read(text)
local plain,char=only_data(text)
if not plain then return nil,"is not data only: it has a ".. shown(char)end
local chunk,err=load("return ".. text,"@config","t",{})
if not chunk then return nil,err end
local ok,conf=pcall(function()return check(chunk())end)
if ok then return conf end
return nil,conf
end
end
do
local EVERY<const> =1
local state=memcached_proxy
local function slurp(path)
local file,err=io.open(path,"r")
if not file then return nil,err end
local text
text,err=file:read("a")
file:close()
return text,err
end
local function say(text)io.stderr:write("memcached-proxy: ".. text .."\n")end
local function refuse(path,why)say("refused ".. path ..": ".. tostring(why).."; still serving epoch ".. state.epoch)end
local function describe(conf)
local servers=0
for _,list in ipairs(conf.replicas)do servers=servers+#list end
return string.format("%s on %s, epoch %d, servers %d, copies %d, %s",conf.mode,conf.cluster,conf.epoch,servers,
conf.copies,conf.consistency)
end
local function attempt(text,make)
local conf,err=M.read(text)
if not conf then return nil,err end
local ok,made=pcall(make,conf)
if not ok then return nil,made end
return made,conf
end
local function watch(path)
local text,err=slurp(path)
if(text or err)==state.seen then return end
state.seen=text or err
if text and text~=state.good then
local conf
conf,err=M.read(text)
if conf then return mcp.schedule_config_reload()end
end
if err then refuse(path,err)end
end
function M.load(path,make)
local text,err=slurp(path)
local made,conf
if text then
made,conf=attempt(text,make)
if not made then err=conf end
end
if made then
state.good,state.epoch=text,conf.epoch
say("loaded ".. path ..": ".. describe(conf))
elseif state.good then
refuse(path,err)
made,err=attempt(state.good,make)
if not made then error(err,0)end
else
error("memcached-proxy: refused ".. path ..": ".. tostring(err).."; nothing to serve, so not starting",0)
end
state.seen=text or err
mcp.register_cron("memcached-proxy",{every=EVERY,func=function()watch(path)end})
return made
end
end
do
local unpack=string.unpack
local TAIL={"<I1","<I2","<I3","<I4","<I5","<I6","<I7"}
local MULTIPLIER<const> =0x2545F4914F6CDD1D
function M.hash(key)
local x,size=#key,#key
local whole=size - size%8
for at=1,whole,8 do
x=(x~unpack("<i8",key,at))*MULTIPLIER
x=x~(x>>29)
end
if whole<size then
x=(x~unpack(TAIL[size - whole],key,whole+1))*MULTIPLIER
x=x~(x>>29)
end
x=x*MULTIPLIER
return x~(x>>32)
end
function M.jump(hash,n)
local bucket,next= -1,0
while next<n do
bucket=next
hash=hash*2862933555777941757+1
next=math.floor((bucket+1)*(2147483648.0/((hash>>33)+1)))
end
return bucket
end
local function rotated(size,copies)
local orders={}
for i=0,size - 1 do
local order={}
for copy=0,copies - 1 do order[copy+1]=(i+copy)%size+1 end
orders[i]=order
end
return function(key)return orders[M.jump(M.hash(key),size)]end
end
local function aligned(replicas)
local lists,first=#replicas,{}
local before=0
for r,servers in ipairs(replicas)do
first[r]=before+1
before=before+#servers
end
return function(key)
local hash=M.hash(key)
local lead,order=(hash>>40)%lists,{}
for r,servers in ipairs(replicas)do
order[(r - 1 - lead)%lists+1]=first[r]+M.jump(hash,#servers)
end
return order
end
end
function M.order(replicas,copies)
if#replicas==1 then return rotated(#replicas[1],copies)end
return aligned(replicas)
end
end
do
local state=memcached_proxy
local match,sub,format=string.match,string.sub,string.format
function M.request(line,value)return mcp.request(line .."\r\n",value)end
function M.ask_item(key,b)return M.request("mg ".. key .. b .." v f t c u")end
function M.ask_id(key,b)return M.request(b==""and"me ".. key or"mg ".. key .. b .." c u")end
function M.remove_key(key,b)return M.request("md ".. key .. b)end
function M.remove_id(key,b,id)return M.request("md ".. key .. b .." C".. id)end
function M.id_of(res)return res:hit()and match(res:line()or"","%f[%w]c[as=]*(%d+)")end
function M.item(res)
if not res or not res:hit()then return nil end
local raw=res:raw_string()
local size,line,at=match(raw or"","^VA (%d+) ([^\r\n]*)\r\n()")
if not size then return nil end
line=" ".. line
local value,ttl=sub(raw,at),match(line," t(%-?%d+)")
if match(line," [WXZ]")or ttl=="0"or#value~=size+2 then return nil end
return{value=value,size=size,flags=match(line," f(%d+)"),ttl=ttl,id=match(line," c(%d+)")}
end
function M.put_item(key,b,item,ttl)
return M.request(format("ms %s %s%s ME F%s%s E%s",key,item.size,b,item.flags,ttl=="-1"and""or" T".. ttl,item.id),item.value)
end
function M.new_id()
local now=mcp.time_real_millis()
if not state.node then state.node,state.sequence=M.hash(tostring(state).. now .. tostring(M))&0xfff,0 end
state.sequence=(state.sequence+1)&0x3ff
return format("%d",now<<22|state.node<<10|state.sequence)
end
end
do
M.READ,M.TOUCH,M.STORE,M.REMOVE,M.UPDATE=1,2,3,4,5
local match,find,format=string.match,string.find,string.format
local CLASS,FLAGS,MODE
local function define()
CLASS={
[mcp.CMD_GET]=M.READ,[mcp.CMD_GETS]=M.READ,[mcp.CMD_MG]=M.READ,[mcp.CMD_ME]=M.READ,
[mcp.CMD_GAT]=M.TOUCH,[mcp.CMD_GATS]=M.TOUCH,[mcp.CMD_TOUCH]=M.TOUCH,
[mcp.CMD_SET]=M.STORE,[mcp.CMD_MS]=M.STORE,[mcp.CMD_DELETE]=M.REMOVE,[mcp.CMD_MD]=M.REMOVE,
}
FLAGS={
[mcp.CMD_MG]={"^%S+ +%S+.* [TNRE]",M.TOUCH},
[mcp.CMD_MS]={"^%S+ +%S+.* [CIMEN]",M.UPDATE},
[mcp.CMD_MD]={"^%S+ +%S+.* [CIxET]",M.UPDATE},
}
MODE={
[mcp.CMD_SET]="",[mcp.CMD_CAS]="",[mcp.CMD_ADD]=" ME",[mcp.CMD_REPLACE]=" MR",
[mcp.CMD_APPEND]=" MA",[mcp.CMD_PREPEND]=" MP",
}
end
function M.class(r,cmd)
if not CLASS then define()end
local more=FLAGS[cmd]
if more and find(r:raw_line(),more[1])then return more[2]end
return CLASS[cmd]or M.UPDATE
end
function M.reads(cmd)
return CLASS[cmd]==M.READ or cmd==mcp.CMD_GAT or cmd==mcp.CMD_GATS or cmd==mcp.CMD_MG
end
function M.creates(r,cmd)
return cmd==mcp.CMD_ADD or find(r:raw_line(),"^m[agms] +%S+.* N%d")
or cmd==mcp.CMD_MS and find(r:raw_line(),"^ms +%S+.* M[Ee]")
end
function M.lifetime(r,cmd)
local line=r:raw_line()
if cmd==mcp.CMD_TOUCH then return match(line,"^touch +%S+ +(%-?%d+)")end
if cmd==mcp.CMD_MG then return match(line," T(%-?%d+)")end
return match(line,"^gats? +(%-?%d+)")
end
local function storage(r,cmd,id)
local flags,ttl,size,cas=match(r:raw_line(),"^%S+ +%S+ +(%d+) +(%-?%d+) +(%d+) *(%d*)")
if not flags or#flags>10 or tonumber(flags)>4294967295 or#ttl>9 then return nil end
if cmd~=mcp.CMD_SET and#size>5 or cmd==mcp.CMD_CAS and cas==""then return nil end
local mode=cmd==mcp.CMD_CAS and" C".. cas or MODE[cmd]
return mcp.request(format("ms %s %s F%s T%s E%s%s\r\n",r:key(),size,flags,ttl,id,mode),r)
end
local function number(r,cmd,id)
local delta=match(r:raw_line(),"^%S+ +%S+ +(%d+)")
if not delta or#delta>19 then return nil end
return M.request(format("ma %s D%s M%s v E%s",r:key(),delta,cmd==mcp.CMD_INCR and"I"or"D",id))
end
function M.translate(r,cmd)
local id,q=M.new_id(),nil
if MODE[cmd]then
q=storage(r,cmd,id)
if q then return q,id,"word"end
elseif cmd==mcp.CMD_INCR or cmd==mcp.CMD_DECR then
q=number(r,cmd,id)
if q then return q,id,"number"end
elseif cmd==mcp.CMD_MS or cmd==mcp.CMD_MA and not r:has_flag("c")or cmd==mcp.CMD_MG and r:has_flag("N")
or cmd==mcp.CMD_MD and r:has_flag("I")then
if r:flag_add("E",id)then return r,id end
end
return r
end
end
do
local match,gmatch=string.match,string.gmatch
function M.replies()
local words={}
for code,word in pairs({OK="STORED",NOT_STORED="NOT_STORED",EXISTS="EXISTS",NOT_FOUND="NOT_FOUND"})do
words[mcp["MCMC_CODE_".. code]]=mcp.res_mutator_new({t="rescodeset",val=word})
end
return{words=words,miss=mcp.res_mutator_new({t="resnull",idx=1})}
end
function M.silent(r)return match(r:raw_line(),"^%l+ +%S+.* norepl[yY] *$")end
local function word(t,r,code)
t.replies.words[code](t.out,r)
return t.out
end
function M.miss(t,r)
t.replies.miss(t.out,r)
return t.out
end
function M.unreachable(t,r,cmd)
if M.reads(cmd)then return M.miss(t,r)end
if M.silent(r)then return word(t,r,mcp.MCMC_CODE_OK)end
return"SERVER_ERROR no cache server of this key answers\r\n"
end
function M.answer(t,r,res,form)
if M.silent(r)then return word(t,r,mcp.MCMC_CODE_OK)end
if not res:ok()or not form then return res end
if form=="number"and res:code()==mcp.MCMC_CODE_OK then
return match(res:raw_string(),"\r\n(%d+)").."\r\n"
end
return word(t,r,res:code())
end
function M.best(t,r,cmd,answers,list,form)
local found,rank=nil,0
for i=1,#list do
local res=answers[list[i]]
if res then
local code,worth=res:code(),3
if not res:ok()then worth=1
elseif code==mcp.MCMC_CODE_NOT_FOUND or code==mcp.MCMC_CODE_NOT_STORED then worth=2 end
if worth>rank then found,rank=res,worth end
end
end
if not found then return M.unreachable(t,r,cmd)end
return M.answer(t,r,found,form)
end
function M.done(t,r,res,form,id)
if form=="word"or M.silent(r)then return word(t,r,mcp.MCMC_CODE_OK)end
local value=match(res:raw_string(),"\r\n(.*)\r\n$")or""
if form=="number"then return match(value,"%d+").."\r\n"end
local flags,wanted="",false
for flag in gmatch(match(r:raw_line(),"^%S+ +%S+(.*)")," (%a%S*)")do
local letter=flag:sub(1,1)
if letter=="O"then flags=flags .." ".. flag
elseif flag=="k"then flags=flags .." k".. r:key()..(r:has_flag("b")and" b"or"")
elseif flag=="c"then flags=flags .." c".. id
elseif flag=="v"then wanted=true end
end
if wanted then return"VA "..#value .. flags .."\r\n".. value .."\r\n"end
return"HD".. flags .."\r\n"
end
end
do
local ROLES={"look","cmd","try1","try2","try3","put","check","copy","drop","last","again","fresh"}
local ALONE={cmd=true,try1=true,try2=true,try3=true}
local QUICK<const> =M.TIMEOUT*800000
local ANY=mcp.WAIT_ANY
local Copies={}
Copies.__index=Copies
local function answered(res)return res and(res:ok()or res:raw_string()~=nil)end
function Copies:retry(q,x,res)
self.hurt=true
local n=self.tries[x]or 0
while res and n<3 and res:elapsed()<QUICK do
n=n+1
self.tries[x]=n
res=self.rctx:enqueue_and_wait(q,self.H["try".. n][x])
if answered(res)then return res end
end
self.dead[x]=true
end
function Copies:ask(q,x,role)
if self.dead[x]then return nil end
local res=self.rctx:enqueue_and_wait(q,self.H[role][x])
if answered(res)then return res end
return self:retry(q,x,res)
end
function Copies:all(q,role,list,skip,extra)
local rctx,handles,sent,count=self.rctx,self.H[role],{},extra or 0
for i=1,#list do
local x=list[i]
if x~=skip and not self.dead[x]then
rctx:enqueue(q,handles[x])
sent[#sent+1]=x
end
end
count=count+#sent
if count>0 then rctx:wait_cond(count,ANY)end
local answers={}
for i=1,#sent do
local x=sent[i]
local res=rctx:result(handles[x])
answers[x]=answered(res)and res or self:retry(q,x,res)
end
return answers
end
function Copies:first(q,list)
for i=1,#list do
local res=self:ask(q,list[i],"cmd")
if res then return res,list[i]end
end
end
function Copies:once(q,list,key,b,id,sent)
for i=1,#list do
local x=list[i]
local handle=self.H.cmd[x]
local res=i==1 and sent and self.rctx:result(handle)or self.rctx:enqueue_and_wait(q,handle)
if answered(res)then return res,x end
if not id then
if self:retry(M.remove_key(key,b),x,res)then res=self:retry(q,x,res)else res=nil end
if res then return res,x end
else
local seen=self:retry(M.request("mg ".. key .. b .." v c u"),x,res)
if seen and M.id_of(seen)==id then return seen,x,true end
res=seen and self:retry(q,x,seen)
if res then return res,x end
end
self.dead[x]=true
end
end
function Copies:restore(key,b,p,list,found)
found=found or self:all(M.ask_item(key,b),"look",list,p)
local other
for i=1,#list do
local x=list[i]
local item=x~=p and M.item(found[x])
if item then
self:ask(M.put_item(key,b,item,item.ttl),p,"put")
local now=self:ask(M.ask_id(key,b),x,"check")
if now and M.id_of(now)~=item.id then self:ask(M.remove_id(key,b,item.id),p,"drop")end
return true,x
elseif x~=p and found[x]and found[x]:hit()then
other=other or x
end
end
return false,other
end
function Copies:create(q,list,key,b,id)
local rctx,look,found=self.rctx,self.H.look,{}
for i=1,#list do rctx:enqueue((i==1 and M.ask_id or M.ask_item)(key,b),look[list[i]])end
rctx:enqueue(q,self.H.cmd[list[1]])
rctx:wait_cond(#list+1,ANY)
local res,p,done=self:once(q,list,key,b,id,true)
for i=1,#list do
local x=list[i]
local seen=rctx:result(look[x])
found[x]=answered(seen)and seen or nil
end
if not res or done or not res:ok()or not found[p]or found[p]:hit()then return res,p,done end
for i=1,#list do
if M.item(found[list[i]])then
self:ask(id and M.remove_id(key,b,id)or M.remove_key(key,b),p,"last")
self:restore(key,b,p,list,found)
return self:ask(q,p,"again")or res,p
end
end
return res,p
end
function Copies:erase(q,key,b,list)
local rctx,look,ids=self.rctx,self.H.look,{}
for i=1,#list do rctx:enqueue(M.ask_id(key,b),look[list[i]])end
local answers=self:all(q,"cmd",list,nil,#list)
for i=1,#list do
local seen=rctx:result(look[list[i]])
local id=answered(seen)and M.id_of(seen)
if id and id~=ids[1]and#ids<2 then ids[#ids+1]=id end
end
if ids[1]then self:all(M.remove_id(key,b,ids[1]),"drop",list)end
if ids[2]then self:all(M.remove_id(key,b,ids[2]),"last",list)end
return answers
end
function Copies:confirm(key,b,p,list,id,role)
local now=self:ask(M.ask_id(key,b),p,"check")
if now and M.id_of(now)~=id then self:all(M.remove_id(key,b,id),role,list,p)end
end
function Copies:publish(key,b,p,list,copy)
if copy then self.rctx:enqueue(M.ask_item(key,b),self.H.fresh[p])end
self:all(M.remove_key(key,b),"drop",list,p,copy and 1)
if not copy then return end
local fresh=self.rctx:result(self.H.fresh[p])
local item=M.item(fresh)
if not item then
local line=fresh and fresh:hit()and" "..(fresh:line()or"")or""
local won=string.find(line," W")and string.match(line," c(%d+)")
if won then self:ask(M.request("md ".. key .. b .." I C".. won .." E".. won),p,"put")end
else
self:all(M.put_item(key,b,item,item.ttl),"copy",list,p)
self:confirm(key,b,p,list,item.id,"last")
end
end
function M.copies(pools,order,copies,commands,name)
local fgen,H=mcp.funcgen_new(),{}
for _,role in ipairs(ROLES)do
if copies>1 or ALONE[role]then
H[role]={}
for x,pool in ipairs(pools)do H[role][x]=fgen:new_handle(pool)end
end
end
local replies=M.replies()
fgen:ready({n=name,u=1,f=function(rctx)
local t={rctx=rctx,H=H,replies=replies,out=rctx:response_new(),dead={},tries={}}
setmetatable(t,Copies)
return function(r)
if t.hurt then t.dead,t.tries,t.hurt={},{},nil end
local cmd,key=r:command(),r:key()
return commands[M.class(r,cmd)](t,r,cmd,key,order(key))
end
end})
return fgen
end
end
do
local function b_flag(r)return r:has_flag("b")and" b"or""end
local function missed(res)
local code=res:code()
return res:ok()and(code==mcp.MCMC_CODE_NOT_FOUND or code==mcp.MCMC_CODE_END or code==mcp.MCMC_CODE_NOT_STORED)
end
local function wrong_request(res)return res:code()==mcp.MCMC_CODE_CLIENT_ERROR end
local function read(t,r,cmd,key,list)
for i=1,#list do
local p=list[i]
local res=t:ask(r,p,"cmd")
if res and res:ok()then
if res:hit()or#list==1 or cmd==mcp.CMD_ME then return res end
local there,x=t:restore(key,b_flag(r),p,list)
local again=there and t:ask(r,p,"again")
if x and not(again and again:hit())then again=t:ask(r,x,"again")end
return again and again:ok()and again or res
elseif res and wrong_request(res)then
return res
end
end
return M.miss(t,r)
end
local function touch(t,r,cmd,key,list)
local b,several,creates=b_flag(r),#list>1,false
local q,id,res,p=r,nil,nil,nil
if cmd==mcp.CMD_MG then
q,id=M.translate(r,cmd)
creates=several and M.creates(r,cmd)
end
if creates then res,p=t:create(q,list,key,b,id)else res,p=t:first(q,list)end
if not res or M.reads(cmd)and not res:ok()and not wrong_request(res)then return M.unreachable(t,r,cmd)end
if several and not creates and missed(res)and t:restore(key,b,p,list)then res=t:ask(q,p,"again")or res end
local seconds=several and res:ok()and not missed(res)and M.lifetime(r,cmd)
if seconds then t:all(M.request("mg ".. key .. b .." T".. seconds),"copy",list,p)end
return M.answer(t,r,res)
end
local function store(t,r,cmd,key,list)
local q,id,form=r,nil,nil
if#list>1 then q,id,form=M.translate(r,cmd)end
local res,p=t:first(q,list)
if not res then return M.unreachable(t,r,cmd)end
if#list>1 then
local b=b_flag(r)
if res:ok()then
t:all(q,"copy",list,p)
if id then t:confirm(key,b,p,list,id,"drop")end
elseif not wrong_request(res)then
t:all(M.remove_key(key,b),"drop",list,p)
end
end
return M.answer(t,r,res,form)
end
local function remove(t,r,cmd,key,list)
local answers=#list>1 and t:erase(r,key,b_flag(r),list)or t:all(r,"cmd",list)
return M.best(t,r,cmd,answers,list)
end
local function update(t,r,cmd,key,list)
local b,several=b_flag(r),#list>1
local creates=several and M.creates(r,cmd)
local q,id,form=M.translate(r,cmd)
local res,p,done
if creates then res,p,done=t:create(q,list,key,b,id)else res,p,done=t:once(q,list,key,b,id)end
if not res then return M.unreachable(t,r,cmd)end
if several and not creates and not done and missed(res)and t:restore(key,b,p,list)then
res=t:ask(q,p,"again")or res
end
if several and(res:ok()and not missed(res)and res:code()~=mcp.MCMC_CODE_EXISTS or res:code()==mcp.MCMC_CODE_SERVER_ERROR)then
t:publish(key,b,p,list,res:ok()and cmd~=mcp.CMD_MD and not r:has_flag("I"))
end
if done then return M.done(t,r,res,form,id)end
return M.answer(t,r,res,form)
end
M.coherent={[M.READ]=read,[M.TOUCH]=touch,[M.STORE]=store,[M.REMOVE]=remove,[M.UPDATE]=update}
end
do
local GOOD=mcp.WAIT_GOOD
local function read(t,r,cmd,key,list)
local rctx,handles,miss=t.rctx,t.H.cmd,nil
for i=1,#list do rctx:enqueue(r,handles[list[i]])end
rctx:wait_cond(1,GOOD)
for i=1,#list do
local res,kind=rctx:result(handles[list[i]])
if kind==mcp.RES_GOOD then return res end
end
for i=1,#list do
local x=list[i]
local res,kind=rctx:result(handles[x])
if kind~=mcp.RES_OK and res and not res:raw_string()then res=t:retry(r,x,res)end
if res and res:hit()then return res end
if res and(res:ok()or res:code()==mcp.MCMC_CODE_CLIENT_ERROR)then miss=miss or res end
end
return miss or M.miss(t,r)
end
local function store(t,r,cmd,key,list)
local q,_,form=M.translate(r,cmd)
return M.best(t,r,cmd,t:all(q,"cmd",list),list,form)
end
M.fastest={
[M.READ]=read,[M.TOUCH]=M.coherent[M.TOUCH],[M.STORE]=store,[M.REMOVE]=M.coherent[M.REMOVE],
[M.UPDATE]=M.coherent[M.UPDATE],
}
end
do
local ANY=mcp.WAIT_ANY
local match,find=string.match,string.find
local function near_can(r,cmd)
if cmd==mcp.CMD_GET then return true end
return cmd==mcp.CMD_MG and not find(match(r:raw_line(),"^%S+ +%S+(.*)")," [^vfskbqO ]")
end
local function value_in(res)return res:ok()and res:code()==mcp.MCMC_CODE_OK end
local function fill(t,r,ttl)
local rctx,key,b=t.rctx,r:key(),r:has_flag("b")and" b"or""
local res=rctx:enqueue_and_wait(M.request("mg ".. key .. b .." v f t c"),t.far.fetch)
if type(res)=="string"or not res:ok()or not res:hit()then return M.miss(t,r)end
local item=M.item(res)
if not item then return rctx:enqueue_and_wait(r,t.far.cmd)end
local left=tonumber(item.ttl)
rctx:enqueue_and_wait(M.put_item(key,b,item,(left<0 or left>ttl)and ttl or left),t.near.put)
rctx:enqueue(M.ask_id(key,b),t.far.check)
rctx:enqueue(r,t.near.again)
rctx:wait_cond(2,ANY)
local now,again=rctx:result(t.far.check),rctx:result(t.near.again)
if type(now)=="string"or M.id_of(now)~=item.id then
rctx:enqueue_and_wait(M.remove_id(key,b,item.id),t.near.drop)
elseif value_in(again)then
return again
end
return rctx:enqueue_and_wait(r,t.far.cmd)
end
local function change(t,r)
local rctx,gone=t.rctx,M.remove_key(r:key(),r:has_flag("b")and" b"or"")
rctx:enqueue(gone,t.near.drop)
local res=rctx:enqueue_and_wait(r,t.far.cmd)
rctx:enqueue_and_wait(gone,t.near.last)
return res
end
local function answer(t,r,ttl)
local cmd=r:command()
if near_can(r,cmd)then
local res=t.rctx:enqueue_and_wait(r,t.near.cmd)
if value_in(res)then return res end
if res:code()==mcp.MCMC_CODE_END then return fill(t,r,ttl)end
elseif M.class(r,cmd)~=M.READ then
return change(t,r)
end
return t.rctx:enqueue_and_wait(r,t.far.cmd)
end
function M.failover(near,far,ttl)
local fgen=mcp.funcgen_new()
local t={near={},far={},replies=M.replies()}
for _,role in ipairs({"cmd","put","again","drop","last"})do t.near[role]=fgen:new_handle(near)end
for _,role in ipairs({"cmd","fetch","check"})do t.far[role]=fgen:new_handle(far)end
fgen:ready({n="failover",u=1,f=function(rctx)
local mine=setmetatable({rctx=rctx,out=rctx:response_new()},{__index=t})
return function(r)return answer(mine,r,ttl)end
end})
return fgen
end
end
do
local function settings()
mcp.backend_connect_timeout(M.TIMEOUT)
mcp.backend_read_timeout(M.TIMEOUT)
mcp.backend_retry_waittime(1)
mcp.backend_failure_limit(1)
mcp.tcp_keepalive(true)
end
local function pool(server)
local host,port=M.address(server)
return mcp.pool({mcp.backend({label=server,host=host,port=port})})
end
local function pools(conf)
settings()
local made,near={},nil
for _,servers in ipairs(conf.replicas)do
for _,server in ipairs(servers)do made[#made+1]=pool(server)end
end
if conf.local_cache and conf.local_cache.server~="internal"then near=pool(conf.local_cache.server)end
return{conf=conf,pools=made,near=near}
end
function mcp_config_pools()return M.load(mcp.start_arg,pools)end
function mcp_config_routes(made)
local conf=made.conf
local order=M.order(conf.replicas,conf.copies)
local commands=conf.consistency=="fastest"and conf.copies>1 and M.fastest or M.coherent
local route=M.copies(made.pools,order,conf.copies,commands,conf.mode)
if conf.mode=="failover"then
route=M.failover(made.near or mcp.internal_handler,route,conf.local_cache.ttl)
end
mcp.attach(mcp.CMD_ANY_STORAGE,route)
end
end
