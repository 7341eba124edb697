-- memcached-injector: routing library of the memcached proxy. Made from src/routing/lua, where it is explained.
local M={}
M.TIMEOUT=0.14
M.LEASE,M.GRACE,M.HEAD,M.DELTA=65,25,15,40
M.FORCE=M.LEASE+M.GRACE+M.HEAD
M.QUIET=60000
M.STAND_IN=10
M.TOO_OLD="memcached-proxy: this memcached is too old, 1.6.40 or newer is needed"
memcached_proxy=memcached_proxy or{}
do
local OLDEST<const>,NEWEST<const> =1,3
local function only_data(text)
local at,size=1,#text
while at<=size do
local to=select(2,string.find(text,"^%-%-[^%[\n][^\n]*",at))or select(2,string.find(text,"^%-%-\n",at))
or select(2,string.find(text,'^"[^"\\\n]*"',at))
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
local function each_once(what,servers,seen)
list(what,servers)
for i,name in ipairs(servers)do
local field=what .."[".. i .."]"
server(field,name)
if seen[name]then fail(field,shown(name).." is already ".. seen[name])end
seen[name]=field
end
end
local CHECKS={
format=function()end,
mode=function(_,v)one_of("mode",v,"replicated","failover","sharded")end,
cluster=function(_,v)if type(v)~="string"or v==""then fail("cluster",shown(v).." is not a name")end end,
epoch=function(_,v)integer("epoch",v,0,math.maxinteger)end,
consistency=function(_,v)one_of("consistency",v,"coherent","fastest")end,
replicas=function(_,v,seen)
list("replicas",v)
for r,servers in ipairs(v)do each_once("replicas[".. r .."]",servers,seen)end
end,
gutter=function(conf,v,seen)
if v==nil then return end
if conf.format<3 then fail("gutter","unknown in format ".. conf.format)end
if conf.consistency~="coherent"then fail("gutter","belongs to consistency coherent only")end
each_once("gutter",v,seen)
end,
copies_by=function(conf,v)
if conf.format>1 then one_of("copies_by",v,"cluster","mode")
elseif v~=nil then fail("copies_by","unknown in format 1")end
end,
servers=function(conf,v)
if conf.format==1 then
if v~=nil then fail("servers","unknown in format 1")end
conf.servers=#conf.replicas[1]
return
end
local most=math.maxinteger
for _,servers in ipairs(conf.replicas)do most=math.min(most,#servers)end
integer("servers",v,1,most)
end,
copies=function(conf,v)
if#conf.replicas>1 then integer("copies",v,#conf.replicas,#conf.replicas)
else integer("copies",v,1,conf.mode=="sharded"and 1 or conf.servers)end
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
local FIELDS={"format","mode","cluster","epoch","consistency","replicas","servers","copies","copies_by","gutter","local_cache"}
local function check(conf,...)
if type(conf)~="table"or select("#",...)>0 then error("is not one table constructor",0)end
if math.type(conf.format)~="integer"or conf.format<OLDEST or conf.format>NEWEST then
fail("format",shown(conf.format).." is none of ".. OLDEST .." to ".. NEWEST ..", which this library reads")
end
local seen={}
for _,name in ipairs(FIELDS)do CHECKS[name](conf,conf[name],seen)end
for name in pairs(conf)do if not CHECKS[name]then fail(tostring(name),"unknown in format ".. conf.format)end end
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
local NOWHERE<const> ="255.255.255.255"
local AGAIN<const> =60
local ASK<const> ="RES_OPTIONS='timeout:1 attempts:2' getent ahosts '%s' 2>/dev/null"
local SILENCE<const> =2
local STAT_SIZE<const> =126
local function is_address(host)return string.find(host,":",1,true)or string.find(host,"^[%d.]+$")end
local function lookup(host,last)
local pipe=io.popen(string.format(ASK,host))
if not pipe then return nil end
local same,v4,v6
for line in pipe:lines()do
local address=string.match(line,"^%S+")
if address==last then same=address
elseif string.find(address,":",1,true)then v6=v6 or address
else v4=v4 or address end
end
pipe:close()
return same or v4 or v6
end
local function have_getent()
local state=memcached_proxy
if state.getent==nil then
state.getent=lookup("127.0.0.1")~=nil
if not state.getent then M.say("no getent in this image: memcached asks the DNS itself, and stands still while that is silent")end
end
return state.getent
end
local hushed=0
local function ask(server,known,down)
local start=os.time()
if start==hushed then return false end
local address=lookup(M.address(server),known.address)
local now=os.time()
local silent=not address and now - start>=SILENCE
if silent then hushed=now end
if silent and not known.silent then M.say("the DNS is silent about ".. server .."; it stays "..(known.address or"unknown"))end
known.asked,known.silent=now,silent
if silent or address==known.address or not address and not down then return false end
if known.address or known.lost then
M.say(server .." is at "..(address or"no address")..", was at "..(known.address or"none"))
end
known.address,known.lost=address,not address
return true
end
function M.finder()
local state=memcached_proxy
local before,where=state.where or{},{}
state.where=where
return function(server)
local host=M.address(server)
if is_address(host)or not have_getent()then return host end
local known=before[server]
if not known then
known={asked=0}
ask(server,known,true)
end
where[server]=known
return known.address or NOWHERE
end
end
function M.moved()
local bad,where,due,moved=mcp.server_stats("proxybe"),memcached_proxy.where,{},false
local function down(server)return not where[server].address or bad[string.sub("bad_".. server,1,STAT_SIZE)]~=nil end
for server,known in pairs(where)do
if down(server)or os.time()- known.asked>=AGAIN then due[#due+1]=server end
end
table.sort(due,function(a,b)return where[a].asked<where[b].asked end)
for _,server in ipairs(due)do moved=ask(server,where[server],down(server))or moved end
return moved
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
function M.say(text)io.stderr:write("memcached-proxy: ".. text .."\n")end
local function refuse(path,why)M.say("refused ".. path ..": ".. tostring(why).."; still serving epoch ".. state.epoch)end
local function describe(conf)
local servers=0
for _,list in ipairs(conf.replicas)do servers=servers+#list end
return string.format("%s on %s, epoch %d, servers %d, copies %d, %s%s",conf.mode,conf.cluster,conf.epoch,servers,
conf.copies,conf.consistency,conf.gutter and", stand-ins "..#conf.gutter or"")
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
local changed=(text or err)~=state.seen
state.seen=text or err
if M.moved()or changed and text~=state.good then mcp.schedule_config_reload()end
end
local REFUSED<const> =1
function M.count(made)
if made.refused then mcp.stat(REFUSED,made.refused)end
end
function M.load(path,make)
if not mcp.add_stat then error(M.TOO_OLD,0)end
mcp.add_stat(REFUSED,"config_refused")
local text,err=slurp(path)
local made,conf
if text then
made,conf=attempt(text,make)
if not made then err=conf end
end
if made then
state.good,state.epoch=text,conf.epoch
M.say("loaded ".. path ..": ".. describe(conf))
elseif state.good then
refuse(path,err)
made,err=attempt(state.good,make)
if not made then error(err,0)end
made.refused=1
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
local bucket=0
while true do
hash=hash*2862933555777941757+1
local to=(bucket+1)*(2147483648.0/((hash>>33)+1))
if to>=n then return bucket end
bucket=to//1|0
end
end
local function rotated(known,size,copies)
local orders={}
for i=0,size - 1 do
local order={}
for copy=0,math.min(copies,size)- 1 do
local x=(i+copy)%size+1
if x>known then x,order.unknown=0,true end
order[copy+1]=x
end
orders[i]=order
end
return function(key)return orders[M.jump(M.hash(key),size)]end
end
local function across(replicas,lead,places)
local order,before={},0
for r,servers in ipairs(replicas)do
local known=places[r]<#servers
order[(r - 1 - lead)%#replicas+1]=known and before+places[r]+1 or 0
if not known then order.unknown=true end
before=before+#servers
end
return order
end
local function uneven(replicas)
return function(key)
local hash,places=M.hash(key),{}
for r,servers in ipairs(replicas)do places[r]=M.jump(hash,#servers)end
return across(replicas,(hash>>40)%#replicas,places)
end
end
local function aligned(replicas,size)
local lists,orders,places=#replicas,{},{}
for place=0,size - 1 do
for r=1,lists do places[r]=place end
for lead=0,lists - 1 do orders[place*lists+lead]=across(replicas,lead,places)end
end
return function(key)
local hash=M.hash(key)
return orders[M.jump(hash,size)*lists+(hash>>40)%lists]
end
end
function M.order(replicas,copies,size)
local first=#replicas[1]
if#replicas==1 then return rotated(first,size or first,copies)end
for _,servers in ipairs(replicas)do
if#servers~=first then return uneven(replicas)end
end
return aligned(replicas,size or first)
end
end
do
local state=memcached_proxy
local match,find,sub,format=string.match,string.find,string.sub,string.format
function M.request(line,value)return mcp.request(line .."\r\n",value)end
function M.ask_item(key,b)return M.request("mg ".. key .. b .." v f t c u")end
function M.ask_id(key,b)return M.request(b==""and"me ".. key or"mg ".. key .. b .." c u")end
function M.remove_key(key,b)return M.request("md ".. key .. b)end
function M.remove_id(key,b,id)return M.request("md ".. key .. b .." C".. id)end
function M.give_back(res,key,b)
local line=res and res:hit()and" "..(res:line()or"")or""
local id=find(line," W")and find(line," X")and match(line," c(%d+)")
return id and M.request("md ".. key .. b .." I C".. id .." E".. id)or nil
end
M.COUNTER="f s c u"
function M.ask_counter(key,b)return M.request("mg ".. key .. b .." ".. M.COUNTER)end
function M.id_of(res)
if not res:hit()then return nil end
local line=res:line()or""
local _,last=find(line," cas=",1,true)
return last and match(line,"^%d+",last+1)or match(" ".. line," c(%d+)")
end
function M.id_at(res)return res and res:ok()and(M.id_of(res)or false)end
function M.is_version(res,id)return M.id_at(res)==id and not find(res:line()," X",1,true)end
function M.before(value,delta)
local number=delta and math.tointeger(tonumber(value))
return number and number>=delta and format("%d",number - delta)or nil
end
function M.value_of(res)return match(res:raw_string()or"","\r\n(.*)\r\n$")end
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
M.STAMP="D0 v t E"
function M.stamp(key,b,id)return M.request("ma ".. key .. b .." ".. M.STAMP .. id)end
function M.counted(res,after,copy,id)
local ttl,value=match(res and res:raw_string()or"","^VA %d+ t(%-?%d+)[^\r\n]*\r\n(%d+)\r\n$")
local line=copy:line()
if not value or ttl=="0"or not after or M.id_of(after)~=id or match(line,"%f[%w]s(%d+)")~=tostring(#value)then
return nil
end
return{value=value .."\r\n",size=#value,flags=match(line,"%f[%w]f(%d+)"),ttl=ttl,id=id}
end
function M.item_says(item,condition,ttl)
ttl=ttl or item.ttl
local life=ttl=="-1"and""or" T".. ttl
return"F".. item.flags .. life .." E".. item.id .. condition
end
function M.place_item(key,b,item,condition,ttl)
return M.request("ms ".. key .." ".. item.size .. b .." ".. M.item_says(item,condition,ttl),item.value)
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
function M.says(r,cmd,id)
local flags,ttl,size,cas=match(r:raw_line(),"^%S+ +%S+ +(%d+) +(%-?%d+) +(%d+) *(%d*)")
if not flags or#flags>10 or tonumber(flags)>4294967295 or#ttl>9 then return nil end
if cmd~=mcp.CMD_SET and#size>5 or cmd==mcp.CMD_CAS and cas==""then return nil end
return"F".. flags .." T".. ttl .." E".. id,size,cas
end
function M.maker(r,key,says,size)
local line="ms ".. key .." ".. size .." ".. says
return function(condition)return M.request(line .. condition,r)end
end
function M.counts_by(r,cmd,id)
local delta=match(r:raw_line(),"^%S+ +%S+ +(%d+)")
if not delta or#delta>19 then return nil end
local up=cmd==mcp.CMD_INCR
return format("D%s M%s v t E%s",delta,up and"I"or"D",id),up and math.tointeger(tonumber(delta))
end
function M.translate(r,cmd,key)
local id=M.new_id()
if MODE[cmd]then
local says,size,cas=M.says(r,cmd,id)
if says then
local make,whole=M.maker(r,key,says,size),cmd~=mcp.CMD_APPEND and cmd~=mcp.CMD_PREPEND
return make(cmd==mcp.CMD_CAS and" C".. cas or MODE[cmd]),id,"word",whole and make or nil
end
elseif cmd==mcp.CMD_INCR or cmd==mcp.CMD_DECR then
local says,delta=M.counts_by(r,cmd,id)
if says then return M.request("ma ".. key .." ".. says),id,"number",nil,delta end
elseif cmd==mcp.CMD_MS or cmd==mcp.CMD_MA and not r:has_flag("c")or cmd==mcp.CMD_MG and r:has_flag("N")
or cmd==mcp.CMD_MD and r:has_flag("I")then
local plain=cmd==mcp.CMD_MS and M.class(r,cmd)==M.STORE
if r:flag_add("E",id)then
return r,id,nil,plain and function(condition)return M.request(r:raw_line().. condition,r)end or nil
end
end
return r
end
end
do
local match,gmatch,find=string.match,string.gmatch,string.find
function M.replies()
local words={}
for code,word in pairs({OK="STORED",NOT_STORED="NOT_STORED",EXISTS="EXISTS",NOT_FOUND="NOT_FOUND"})do
words[mcp["MCMC_CODE_".. code]]=mcp.res_mutator_new({t="rescodeset",val=word})
end
return{words=words,miss=mcp.res_mutator_new({t="resnull",idx=1})}
end
function M.silent(r)
local line=r:raw_line()
return find(line," norepl",1,true)and match(line,"^%l+ +%S+.* norepl[yY] *$")
end
local function word(t,r,code)
t.replies.words[code](t.out,r)
return t.out
end
function M.miss(t,r)
if not t.said then t.replies.miss(t.out,t.client or r)end
t.said=true
return t.out
end
function M.unreachable(t,r,cmd)
if t.alone and not t.used_up then
t.left=true
return t.out
end
if M.reads(cmd)then return M.miss(t,r)end
if M.silent(r)then return word(t,r,mcp.MCMC_CODE_OK)end
return"SERVER_ERROR no cache server of this key answers\r\n"
end
function M.behind(t,r)
if M.silent(r)then return word(t,r,mcp.MCMC_CODE_OK)end
return"SERVER_ERROR this proxy does not know the servers of the ring in force yet\r\n"
end
function M.unknown(t,r)
if M.silent(r)then return word(t,r,mcp.MCMC_CODE_OK)end
return"SERVER_ERROR a cache server was lost meanwhile, the outcome is not known\r\n"
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
function M.done(t,r,value,form,id)
if form=="word"or M.silent(r)then return word(t,r,mcp.MCMC_CODE_OK)end
if not value and(form=="number"or r:has_flag("v"))then return M.unknown(t,r)end
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
local HANDLES<const> =16
local READS<const>,READS_OF_Q<const> =8,12
local QUICK<const> =M.TIMEOUT*800000
local TRIES<const> =3
local ANY,READ<const> =mcp.WAIT_ANY,M.READ
local Copies={}
M.Copies=Copies
function M.answered(res)return res and(res:ok()or res:raw_string()~=nil)end
function M.hung(res)return res:elapsed()>=QUICK end
local answered=M.answered
function Copies:ticket(x)
local n=self.used[x]+1
local handle=self.H[x][n]
if handle then self.used[x]=n
else self.used_up,self.dead[x],self.hurt=true,true,true end
return handle
end
function Copies:room(x,n)return self.used[x]+n<=#self.H[x]end
function Copies:queue(q,ticket)
self.queued,self.last=self.queued+1,ticket
self.rctx:enqueue(q,ticket)
end
function Copies:send(q,x)
local ticket=self:ticket(x)
if ticket then self:queue(q,ticket)end
return ticket
end
function Copies:wait()
local queued=self.queued
self.queued=0
if queued==1 then self.rctx:wait_handle(self.last)
elseif queued>0 then self.rctx:wait_cond(queued,ANY)end
end
function Copies:got(ticket)
local res=ticket and self.rctx:result(ticket)
return answered(res)and res or nil
end
function Copies:try(q,x)
local ticket=self:send(q,x)
self:wait()
return self:got(ticket)
end
function Copies:hangs(ticket,x)
local res=ticket and self.rctx:result(ticket)
if not res or answered(res)or not M.hung(res)then return false end
self.dead[x],self.hurt=true,true
self:lose(x)
return true
end
function Copies:retry(q,x,ticket)
local res=ticket and self.rctx:result(ticket)
local n=self.tries[x]or 0
self.hurt=true
while res and n<TRIES and not M.hung(res)and not self:known_lost(x)do
n=n+1
self.tries[x]=n
ticket=self:send(q,x)
if not ticket then return nil end
self:wait()
res=self.rctx:result(ticket)
if answered(res)then return res end
end
self.dead[x]=true
self:lose(x)
end
function Copies:ask_by(q,ticket)
if self.queued==0 then return self.rctx:enqueue_and_wait(q,ticket)end
self:queue(q,ticket)
self:wait()
return self.rctx:result(ticket)
end
function Copies:ask(q,x)
if self.dead[x]then return nil end
local ticket=self:ticket(x)
if not ticket then return nil end
local res=self:ask_by(q,ticket)
if answered(res)then return res end
return self:retry(q,x,ticket)
end
function Copies:hear(q,x)
if self.asked~=x then return self:ask(q,x)end
local ticket=self.H[x][1]
self.asked=nil
self:wait()
return self:got(ticket)or self:retry(q,x,ticket)
end
function Copies:all(q,list,skip,key,b)
local answers={}
for i=1,#list do
local x=list[i]
if x~=skip and not self.dead[x]then answers[x]=self:send(q,x)end
end
self:wait()
for i=1,#list do
local x=list[i]
local ticket=answers[x]
if ticket then answers[x]=self:got(ticket)or self:retry(q,x,ticket)end
if key and x~=skip and not answers[x]then self:owe(x,key,b)end
end
return answers
end
function Copies:first(q,list)
while true do
local p=self:lead(list)
if not p then return nil end
local res=self:hear(q,p)
if res then return res,p end
self.dead[p]=true
end
end
local function context(rctx,shared)
local t={rctx=rctx,out=rctx:response_new(),dead={},tries={},used={},queued=0}
if not t.out.raw_string then error(M.TOO_OLD,0)end
if shared.__index.mutators then t.objects=M.prepare(rctx)end
for x=1,#shared.__index.H do t.used[x]=0 end
return setmetatable(t,shared)
end
function Copies:begin()
local used=self.used
self.spent,self.said,self.asked,self.begun=false,false,nil,nil
for x=1,#used do used[x]=0 end
if self.line then self:step_out()end
self:close_doubt()
if self.hurt then self.dead,self.tries,self.hurt,self.missed,self.doubtful,self.used_up={},{},nil,nil,nil,nil end
end
function Copies:route(r,cmd,key,class)
self:enter(r,key,class)
local res=self:serve(r,cmd,key,class,self.commands[class])
if self.used_up and self.missed and not M.reads(cmd)then res=M.unknown(self,r)end
self:leave(class~=READ)
return res
end
function Copies:forward(r,usual)
local cmd,key=r:command(),r:key()
local class,res,begun=M.class(r,cmd),nil,nil
if usual then
res,begun=usual(self,r,cmd,key,class)
if res then return res end
end
self:begin()
if begun then self:take_over(begun)end
return self:route(r,cmd,key,class)
end
function M.copies(pools,commands,name,view,front,reads)
local fgen=mcp.funcgen_new()
local fixed={H={},replies=M.replies(),commands=commands,near=front and front.open(fgen)}
for method,body in pairs(Copies)do fixed[method]=body end
for x,pool in ipairs(pools)do
local count=reads and READS or HANDLES
for _,y in ipairs(reads and view.q or{})do
if x==y then count=READS_OF_Q end
end
fixed.H[x]={}
for n=1,count do fixed.H[x][n]=fgen:new_handle(pool)end
end
for field,value in pairs(view)do fixed[field]=value end
local shared,usual,act={__index=fixed},commands.usual and commands.usual(fixed),front and front.answer or Copies.forward
fixed.mutators=commands.usual and not reads and M.mutators()or nil
fgen:ready({n=name,u=fixed.mutators and 1+M.PREPARED or 1,f=function(rctx)
local t=context(rctx,shared)
return function(r)return act(t,r,usual)end
end})
return fgen
end
end
do
local Copies=M.Copies
local USES<const> ={look="me",counter="mg",count="ma",stamp="ma",item="ms",copy="ms"}
M.PREPARED=6
function M.mutators()
local key,flags,value,made={t="keycopy",idx=1},{t="flagcopyall",idx=2},{t="valcopy",idx=3},{}
local steps={me={key},mg={key,flags},ma={key,flags},ms={key,value,flags}}
for use,name in pairs(USES)do
made[use]=mcp.req_mutator_new({t="cmdset",cmd=name},table.unpack(steps[name]))
end
return made
end
function M.prepare(rctx)
local objects={}
for use in pairs(USES)do objects[use]=rctx:request_new()end
return objects
end
function Copies:fill(use,r,flags,value)
local q=self.objects[use]
assert(self.mutators[use](q,r,flags,value)==nil)
return q
end
end
do
local match,gmatch,format=string.match,string.gmatch,string.format
M.VIEW="__mcp:v"
M.WHOLE="__mcp:w"
M.EMPTIED="^e(%x%x%x%x%x%x%x%x%x+)$"
function M.hollow(time)return 1+time/1e15 end
local SINCE<const> ="^%x%x%x%x%x%x%x%xn(%x+)$"
function M.since(owner)return tonumber(match(owner,SINCE)or"0",16)end
function M.stale(time)return 3 - time/1e15 end
M.NOTED="__mcp:h"
M.PASSED="__mcp:n:"
M.REGISTER="__mcp:p:"
function M.ring(epoch,S,R,oS,oR)
return{epoch=epoch,S=S,R=R,oS=oS,oR=oR,place=S<<16|R,before=oS>0 and oS<<16|oR or nil}
end
function M.ring_text(ring)return format("%d %d %d %d %d",ring.epoch,ring.S,ring.R,ring.oS,ring.oR)end
function M.mark_name(mark)return mark.server ..".".. mark.owner end
function M.parse_view(text)
local view,all,last={marks={}},{},{}
local epoch,S,R,oS,oR=match(text,"^(%d+) (%d+) (%d+) (%d+) (%d+)")
if epoch then
local int=math.tointeger
view.ring=M.ring(int(epoch),int(S),int(R),int(oS),int(oR))
end
for state,server,owner in gmatch(text," ([dr])(%d+%-%d+)%.(%w+)")do
local mark={server=server,owner=owner,state=state}
all[#all+1],last[M.mark_name(mark)]=mark,mark
end
for _,mark in ipairs(all)do
if last[M.mark_name(mark)]==mark then view.marks[#view.marks+1]=mark
else view.repeated=true end
end
return view
end
function M.print_view(ring,marks)
local words={M.ring_text(ring)}
for i=1,#marks do words[i+1]=M.mark_text(marks[i])end
return table.concat(words," ")
end
function M.mark_text(mark)return mark.state .. M.mark_name(mark)end
end
do
local mono=mcp.time_mono_millis
local MEMBERS<const> =3
local AGO<const> =M.LEASE+M.GRACE
local HOP<const> =0.002
local Copies=M.Copies
local function glance_of(t)
local V=t.memory
local known=V.glance
return V.calm and V.steady and known and known.q==t.q and known or nil
end
function Copies:may_glance(seen,start)
local V,count,text,read=self.memory,0,nil,{}
V.glance=nil
for y,member in pairs(seen)do
local ring=member.view.ring
if not ring or ring.epoch~=V.ring.epoch or#member.view.marks>0 or text and member.text~=text then return end
count,text,read[y]=count+1,member.text,start
end
if count==MEMBERS then V.glance={q=self.q,text=text,read=read}end
end
function Copies:left_out(start,with)
local known,turn=glance_of(self),start//M.LEASE
if not known then return nil end
for i=0,MEMBERS - 1 do
local y=self.q[(turn+i)%MEMBERS+1]
if y~=with and start - known.read[y]<=AGO then return y end
end
end
function Copies:as_known(seen,out,start)
local known=glance_of(self)
for _,y in ipairs(self.q)do
if y~=out and not(known and seen[y]and seen[y].text==known.text)then return false end
end
for y in pairs(seen)do known.read[y]=math.max(known.read[y],start)end
return true
end
function Copies:found_later(count)
if count>1 or#self.q<MEMBERS then return 0 end
for _,rec in pairs(self.memory.servers)do
if rec.bad>0 and mono()>=rec.till then return 0 end
end
return AGO
end
function M.holders(seen)
local holders={}
for _,member in pairs(seen)do
for _,mark in ipairs(member.view.marks)do
local name=M.mark_name(mark)
holders[name]=(holders[name]or 0)+1
end
end
return holders
end
function Copies:on_its_way(holders,answers,start)
local V,alone=self.memory,false
for name,count in pairs(holders)do alone=alone or count==1 and not V.known[name]end
alone=alone and answers>1 and self:found_later(1)>0
V.again=alone and(V.again or mono())or nil
if not alone or start>V.again then return false end
self.rctx:sleep(HOP)
return true
end
end
do
local mono=mcp.time_mono_millis
local Copies=M.Copies
function Copies:go_along(r,key)
local V,now,ring=self.memory,self.now,self.memory.ring
if not(self.V and V.calm and V.steady and V.glance)or now<V.rode+M.LEASE then return end
local list=self:servers_of(key)
if list.unknown then return end
local p=list[1]
local ticket=self:send(r,p)
V.rode=now
self:renew(p)
if not self:hangs(ticket,p)and V.calm and V.steady and V.ring==ring and mono()<V.valid then self.asked=p end
end
end
do
local state=memcached_proxy
local match,format=string.match,string.format
local mono=mcp.time_mono_millis
local FORCE<const> =M.FORCE
local EARLY<const> =0.65
local MANY<const> =64
local WATCH<const> =3
local TELL<const>,TOLD<const> =3000,10
local FEW<const>,STEP<const> =4,0.005
local LATE<const> =2000*M.TIMEOUT
local STAYS<const> =2000
local Copies=M.Copies
local function memory()
if not state.view then
state.view={valid=0,early=0,asks=0,rode=0,taken=0,tell=0,calm=true,reading=0,servers={},known={},losses=0,
me=format("%08x",M.hash(tostring(state).. mcp.time_real_millis().. tostring(M))&0xffffffff),
reads=0,every=1,gap=0,later={},tends=0,lines={},waiting=0,swept=0,unposted={}}
state.view.name=os.getenv("MEMCACHED_PROXY_ID")or state.view.me
end
return state.view
end
local function record(V,name)
V.servers[name]=V.servers[name]or{name=name,bad=0,was=0,rank=0,turns=0,owed={},owing=0,force=0,till=0,turned=0}
return V.servers[name]
end
local function watched(replicas)
local q,before={},{}
for r,servers in ipairs(replicas)do before[r+1]=(before[r]or 0)+#servers end
for i=1,WATCH do
for r,servers in ipairs(replicas)do
if servers[i]and#q<WATCH then q[#q+1]=(before[r]or 0)+i end
end
end
return q
end
function M.view(conf)
local V,servers,knows=memory(),{},math.maxinteger
for r,list in ipairs(conf.replicas)do
for i=1,#list do servers[#servers+1]=record(V,r .."-".. i)end
knows=math.min(knows,#list)
end
local orders=setmetatable({},{__index=function(all,place)
local size,copies=place>>16,place&0xffff
if copies==0 then copies=conf.mode=="replicated"and size or 1 end
all[place]=M.order(conf.replicas,copies,size)
return all[place]
end})
M.floor(V,M.ring(conf.epoch,conf.servers,conf.copies_by=="mode"and 0 or conf.copies,0,0))
V.valid,V.tell,V.glance=0,0,nil
return M.relief({memory=V,V=conf.consistency=="coherent"and V or nil,servers=servers,q=watched(conf.replicas),knows=knows,orders=orders,
several=conf.mode=="replicated"},conf,record)
end
function Copies:change(rec,bad,twice,later)
local V=self.memory
if mono()>=rec.till then rec.was=rec.bad end
if twice then rec.was=bad==0 and 2 or 0 end
rec.till=math.max(rec.till,mono()+FORCE+(bad<rec.bad and M.LEASE or 0)+(later or 0))
if twice or(bad==0)~=(rec.bad==0)then rec.turned=rec.till end
rec.bad,rec.turns,V.calm=bad,rec.turns+1,false
end
local function is_mine(V,mark)return string.sub(mark.owner,1,#V.me)==V.me end
local function mine(V)
local marks={}
for name,rec in pairs(V.servers)do
if rec.lost then
local mark={server=name,owner=rec.owner,state=rec.ready and"r"or"d"}
marks[M.mark_name(mark)]=mark
end
for _,mark in ipairs(rec.all or{})do marks[M.mark_name(mark)]=mark end
end
return marks
end
local function corrected(V,view,known)
local want,marks,differs=mine(V),{},view.repeated or not view.ring or view.ring.epoch<(V.next or V.ring).epoch
for _,mark in ipairs(view.ring and view.marks or known)do
local wanted=want[M.mark_name(mark)]
want[M.mark_name(mark)]=nil
local rec=V.servers[mark.server]
local joint=V.known[M.mark_name(mark)]
local over=not wanted and(joint and joint.over or is_mine(V,mark)or match(mark.owner,M.EMPTIED)and rec and not rec.emptied)
if not over then marks[#marks+1]=wanted or mark end
differs=differs or over or(wanted or mark).state~=mark.state
end
for _,mark in pairs(want)do
marks[#marks+1],differs=mark,true
end
return marks,differs
end
function Copies:correct(seen,known)
local V=self.memory
for y,member in pairs(seen)do
local marks,differs=corrected(V,member.view,known)
if differs then
local text=M.print_view(V.next or V.ring,marks)
local condition=member.cas and" C".. member.cas or" ME"
self:send(M.request(format("ms %s %d%s",M.VIEW,#text,condition),text .."\r\n"),y)
end
end
self:wait()
end
function Copies:tell()
local V,now=self.memory,mono()
if now<V.tell then return end
V.tell=now+TELL
local text=format("%d %d",self.knows,V.ring.epoch)
local q=M.request(format("ms %s%s %d T%d",M.REGISTER,V.name,#text,TOLD),text .."\r\n")
for _,y in ipairs(self.q)do
if not self:away(y)then self:send(q,y)end
end
end
function Copies:away(y)
local rec=self.V and self.servers[y]
return self.dead[y]or rec and rec.lost and not rec.back
end
local function ask_members(t,seen,out)
local tickets,answers={},0
for _,y in ipairs(t.q)do
if y~=out and not seen[y]and not t:away(y)then tickets[y]=t:send(M.request("mg ".. M.VIEW .." v c"),y)end
end
t:tell()
t:wait()
for _,y in ipairs(t.q)do
local res=t:got(tickets[y])
if res and res:ok()then
local cas,text=match(res:hit()and res:raw_string()or"","^VA %d+ c(%d+)\r\n(.*)\r\n$")
seen[y]={cas=cas,text=text,view=M.parse_view(text or"")}
elseif t.V or not t:has_copies()then
t:hangs(tickets[y],y)
end
answers=answers+(seen[y]and 1 or 0)
end
return answers
end
function Copies:read_view(start,with)
local out,seen=self:left_out(start,with),{}
local answers=ask_members(self,seen,out)
if out and self:as_known(seen,out,start)then return seen,answers,true end
return seen,out and ask_members(self,seen)or answers
end
local function joined(V,q,seen,complete,holders)
local marks,rank,stale,emptied,fresh,lasting,times,at,on={},{},{},{},{},{},{},{},{}
for _,y in ipairs(q)do
local view=seen[y]and seen[y].view
for _,mark in ipairs(view and view.marks or{})do
local known=at[M.mark_name(mark)]
if not known then
known={server=mark.server,owner=mark.owner,state=mark.state}
at[M.mark_name(mark)],marks[#marks+1]=known,known
elseif mark.state==(mark.owner=="all"and"d"or"r")then
known.state=mark.state
end
end
end
local now=mono()
for i,mark in ipairs(marks)do
local server,before=mark.server,V.known[M.mark_name(mark)]
mark.since=before and before.state==mark.state and before.since or now
mark.over=complete and mark.owner=="all"and mark.state=="r"and now - mark.since>STAYS
rank[server]=rank[server]or i
on[server]=math.max(on[server]or 0,holders[M.mark_name(mark)])
if before then lasting[server]=lasting[server]or mark.state=="d"else fresh[server]=true end
local time=match(mark.owner,M.EMPTIED)
if time then
times[server]=math.max(times[server]or 0,tonumber(time,16))
elseif mark.state=="d"and mark.owner=="all"then emptied[server]=0
elseif mark.state=="d"then stale[server]=math.min(stale[server]or math.huge,M.since(mark.owner))end
end
for server in pairs(emptied)do
emptied[server]=times[server]or 0
if not times[server]then stale[server]=0 end
end
V.known=at
for server in pairs(lasting)do fresh[server]=fresh[server]and not lasting[server]end
return marks,rank,stale,emptied,fresh,on
end
local function look_after_mine(t,seen,complete)
local V=t.V
for x,rec in ipairs(t.servers)do
local ready=complete and rec.ready
for _,member in pairs(seen)do
local here
for _,mark in ipairs(member.view.marks)do
if mark.server==rec.name and is_mine(V,mark)then
here=here or mark.owner==rec.owner and mark.state
if mark.owner~=rec.owner and mark.state=="d"then t:lose(x)end
end
end
ready=ready and here=="r"
end
rec.everywhere=ready
end
end
local function stands(marks,server,owner)
for _,mark in ipairs(marks)do
if mark.server==server and mark.owner==owner then return true end
end
end
function M.reading(V)
if V.reading>0 and mono()- V.oldest>LATE then V.reading=0 end
return V.reading
end
local function prolong(V,from)
V.valid=math.max(V.valid,from+M.LEASE)
V.early=V.valid - M.LEASE*(1 - EARLY)
V.asks=0
end
function M.reads_early(V)return V.asks>=MANY or not V.glance end
function Copies:renew(with)
local V,start=self.memory,mono()
if M.reading(V)==0 then V.oldest=start end
V.reading,V.asked=V.reading+1,start
local seen,answers,known=self:read_view(start,with)
V.reading=math.max(V.reading - 1,0)
if self.used_up then return end
if known then return prolong(V,start)end
local holders,complete=M.holders(seen),answers==#self.q
if self:on_its_way(holders,answers,start)or start<V.taken then return end
V.taken=start
local marks,rank,stale,emptied,fresh,on=joined(V,self.q,seen,complete,holders)
if self.keep then self:keep(marks)end
local ran_out=start>=V.valid
M.adopt(V,self.q,seen,start,ran_out)
for name,rec in pairs(V.servers)do
local posted,before=rec.all and rec.all[1].state,rec.emptied
if posted==(emptied[name]and"d"or"r")then rec.all=nil end
rec.emptied=emptied[name]or rec.all and posted=="d"and before or nil
if rec.emptied~=before then V.gap,V.every=start,1 end
local since=rec.lost and not rec.ready and M.since(rec.owner)
since=math.min(since or math.huge,stale[name]or math.huge)
local now_bad=since<math.huge and M.stale(since)or rec.emptied and M.hollow(rec.emptied)or 0
if answers*2<=#self.q then now_bad=math.max(now_bad,rec.bad)end
rec.rank=rank[name]or 0
if rec.too_many and start>rec.too_many and answers*2>#self.q and not stands(marks,name,rec.owner)then
rec.too_many=nil
end
local taken=rec.lost and not rec.ready and not rank[name]and answers*2>#self.q
local twice,later=ran_out and(fresh[name]or taken),on[name]and self:found_later(on[name])
if twice or now_bad~=rec.bad then self:change(rec,now_bad,twice,later)end
end
if self.V then look_after_mine(self,seen,complete)end
if self.V and not V.calm and complete then self:start_anew()end
local from=answers>0 and start or mono()
local new=complete
for _,member in pairs(seen)do new=new and not member.cas end
if new then self:found()end
self:correct(seen,marks)
self:may_glance(seen,start)
prolong(V,from)
end
function Copies:found()
local q=M.request("ms ".. M.WHOLE .." 1 ME","1\r\n")
for x=1,#self.servers do self:send(q,x)end
self:wait()
end
function Copies:hollow(x)
local res=self:try(M.request("mg ".. M.WHOLE),x)
return not(res and res:ok()and res:hit())
end
function Copies:see(time)
local V=self.memory
local step=STEP/8
while V.valid<=time and not self.used_up do
local shared=M.reading(V)>=FEW and V.asked+M.LEASE>time
if shared then self.rctx:sleep(step)else self:renew()end
step=math.min(step*2,STEP)
end
end
function Copies:enter(r,key,class)
local V,now=self.memory,mono()
self.now=now
local late=now>=V.valid
local waits=late or not(V.calm and V.steady)
local behind=(waits or V.waiting>0)and self:line_up(key,waits)
if late and not self.begun then
if class==M.READ and not behind then self:go_along(r,key)end
self:see(now)
elseif behind and M.reading(V)<FEW then self:renew()end
end
function Copies:leave(wrote)
local V=self.memory
if self.line then self:step_out()end
self:close_doubt()
if wrote and self.missed then self:in_force()end
if self.used_up then return end
local now=mono()
if now>=V.early and not self.spent and M.reading(V)==0 and M.reads_early(V)then self:renew()end
if V.tends>0 then self:tend()end
end
end
do
local mono=mcp.time_mono_millis
local Copies=M.Copies
local function leader(servers,list,dead,before)
local best,least
for i=1,#list do
local x=list[i]
if not dead[x]then
local rec=servers[x]
local bad=before and before<rec.till and rec.was or rec.bad
if rec.floor and rec.floor>bad then bad=rec.floor end
if bad==0 then return x end
if not best or bad<least or bad==least and bad>=2 and rec.rank>servers[best].rank then best,least=x,bad end
end
end
return best
end
local NONE={}
local function settled(servers,list,p,now)
local till,trusted=0,p and servers[p].bad==0 and not servers[p].floor
if not trusted and p==leader(servers,list,NONE,now)then return 0 end
for i=1,#list do
local rec=servers[list[i]]
till=math.max(till,trusted and rec.turned or rec.till)
if trusted and list[i]==p then break end
end
return till
end
local function authority(self,list)
local V,dead=self.V,self.dead
if not V then
for i=1,#list do if not dead[list[i]]then return list[i]end end
return nil
end
while true do
self:see(mono())
self:post_again()
if self.used_up then return nil end
local now=mono()
local p=leader(self.servers,list,dead)
self.limit,self.turns=V.valid+M.GRACE,p and self.servers[p].turns
if V.calm or not p then return p end
local left=settled(self.servers,list,p,now)- now
if self.doubtful then left=left - M.HEAD end
if left<=0 then
self:calm_down()
return p
end
self.rctx:sleep(left/1000)
end
end
function Copies:lead(list,doubt)
local p
repeat p=not self.used_up and not self:has_left(doubt)and authority(self,list)until not(self.line and self:must_wait())
return p and not self:has_left(doubt)and p or nil
end
function Copies:counts(p,list)
local turns=self.turns
if not self.V or mono()<self.limit then return true end
return not self.used_up and authority(self,list)==p and self.turns==turns
end
function Copies:calm_down()
local V=self.memory
for _,rec in pairs(V.servers)do
if rec.bad>0 or mono()<rec.till then return end
end
V.calm=true
end
function Copies:clean(x)return not self.dead[x]and not(self.V and self.servers[x].bad>0)end
function Copies:takes(x)
local rec=self.V and self.servers[x]
return not self.dead[x]and not(rec and rec.lost and not rec.back)
end
end
do
local mono=mcp.time_mono_millis
local Copies=M.Copies
local STEP<const> =0.001
local DEPTH<const> =16
local GONE<const> =1000
local function sweep(V,now)
V.swept=now
for name,line in pairs(V.lines)do
if now - line.at>GONE then V.lines[name],V.waiting=nil,V.waiting -#line end
end
end
function Copies:line_up(key,waits)
local V,now,name=self.memory,self.now,self.rctx:cfd().." ".. key
if now - V.swept>GONE then sweep(V,now)end
local line=V.lines[name]or waits and{}
if not line then return false end
if#line>=DEPTH then return true end
line[#line+1],line.at,V.lines[name]=self,now,line
self.line,self.name,V.waiting=line,name,V.waiting+1
return#line>1
end
function Copies:step_out()
local V,line,name=self.memory,self.line,self.name
self.line=nil
if V.lines[name]~=line then return end
for i=#line,1,-1 do
if line[i]==self then table.remove(line,i)end
end
if#line==0 then V.lines[name]=nil end
V.waiting=V.waiting - 1
end
function Copies:must_wait()
if self.line[1]~=self and mono()- self.now<GONE then
self.rctx:sleep(STEP)
return true
end
self:step_out()
end
end
do
local Copies=M.Copies
local mono=mcp.time_mono_millis
local FORCE<const> =M.FORCE
local ALONE<const> =300
local LOOK<const>,LOOKS<const> =0.04,12
local AGAIN<const> =3
local function steady(V)V.steady=not V.next and not V.ring.before end
function M.floor(V,ring)
if not V.ring then V.ring=ring
elseif ring.epoch>(V.next or V.ring).epoch then V.next,V.turn,V.since=ring,nil,mono()end
steady(V)
end
function M.adopt(V,q,seen,start,idle)
local best,answers,have=V.next or V.ring,0,0
for _,member in pairs(seen)do
local ring=member.view.ring
answers=answers+1
if ring and ring.epoch>best.epoch then best=ring end
end
if best==V.ring then return end
if best~=V.next then V.next,V.turn,V.since=best,nil,start end
for _,member in pairs(seen)do
local ring=member.view.ring
if ring and ring.epoch>=best.epoch then have=have+1 end
end
if not V.turn and(have*2>#q or have>0 and have==answers and start - V.since>ALONE)then
local at_once=not best.before and(idle or best.place==V.ring.place)
V.turn=at_once and start or start+FORCE
end
steady(V)
end
local function turn(V)
if not V.turn or mono()<V.turn then return end
V.ring,V.next,V.turn,V.tell=V.next,nil,nil,0
steady(V)
end
local function await(t,V)
local looks=0
while V.next do
if V.turn then t.rctx:sleep(math.max(V.turn - mono(),1)/1000)
elseif looks==LOOKS then return false
else
looks=looks+1
t.rctx:sleep(LOOK)
if M.reading(V)==0 then t:renew()end
end
turn(V)
end
return true
end
local function same(a,b)
if#a~=#b then return false end
for i=1,#a do if a[i]~=b[i]then return false end end
return true
end
local function rest(list,but)
local left={}
for i=1,#list do
local x,there=list[i],list[i]==0
for j=1,#but do there=there or but[j]==x end
if not there then left[#left+1]=x end
end
return left
end
local NONE<const> ={}
function Copies:servers_of(key)return self.orders[self.memory.ring.place](key)end
function Copies:place(key,reads)
local V,orders,begun=self.memory,self.orders,self.begun
self.before,self.old,self.pending=nil,nil,false
if begun then
self.ring=begun.ring
return begun.list
end
if V.steady then
self.ring=V.ring
return orders[V.ring.place](key)
end
turn(V)
while V.next do
local to=V.next
local list,before=orders[to.place](key),orders[to.before or V.ring.place](key)
self.ring=to
if same(list,before)then return list end
if reads then
self.before,self.pending=rest(before,NONE),true
return list
end
if not await(self,V)then return nil end
end
self.ring=V.ring
local list=orders[V.ring.place](key)
local before=V.ring.before and orders[V.ring.before](key)
if before and(list[1]~=before[1]or not same(list,before))then
local old=rest(before,list)
if#old>0 or list[1]~=before[1]then self.before,self.old=rest(before,NONE),old end
end
return list
end
function Copies:has_left(doubt)
local V=self.memory
if self.ring==V.ring and(not V.next or doubt and mono()<(V.turn or math.huge))then return false end
self.left=(V.next or V.ring).place~=self.ring.place
return self.left
end
function Copies:tells(res)return res~=self.out and(not res:ok()or res:hit())end
function Copies:look_everywhere(r,cmd,key,list,act)
local res=act(self,r,cmd,key,list)
if not self:tells(res)then res=act(self,r,cmd,key,self.before)end
if not self:tells(res)then res=act(self,r,cmd,key,list)end
return res
end
local function behind(t,r,cmd,key,act)
if M.reads(cmd)then
if t.before and#t.before>0 then return act(t,r,cmd,key,t.before)end
return M.miss(t,r)
end
return M.behind(t,r)
end
function Copies:serve(r,cmd,key,class,act)
for _=1,AGAIN do
self.left=false
local list,res=self:place(key,class==M.READ),nil
if not list then return M.unreachable(self,r,cmd)end
while not self.V and self.line and self:must_wait()do end
if list.unknown then res=behind(self,r,cmd,key,act)
elseif self.pending or self.old and class==M.READ then res=self:look_everywhere(r,cmd,key,list,act)
elseif self.old then res=self:moving(r,cmd,key,list,class,act)
elseif self.stand_ins then res=self:relieved(r,cmd,key,list,class,act)
else res=act(self,r,cmd,key,list)end
if not self.left or self.used_up then return res end
end
return M.unreachable(self,r,cmd)
end
end
do
local mono=mcp.time_mono_millis
local match,find,format=string.match,string.find,string.format
local Copies=M.Copies
local LOCK<const> ="__mcp:m:"
local SECONDS<const> =5
local STEAL<const> =1.5*M.DELTA
local PAUSE<const> =0.016
local TRIES<const> =2
local function take(t,key,p)
local name,id=LOCK .. format("%x",M.hash(key)),M.new_id()
local q=M.request(format("mg %s c N%d E%s",name,SECONDS,id))
local holder,since=nil,0
while true do
local res=t:try(q,p)
local line=res and res:ok()and res:line()or""
local now=match(line,"%f[%w]c(%d+)")
if not now then return nil end
if now==id and find(line,"%f[%w]W")then return{name=name,id=id,at=p,start=mono()}end
if now~=holder then holder,since=now,mono()
elseif mono()- since>STEAL then t:try(M.remove_id(name,"",holder),p)end
t.rctx:sleep(PAUSE)
end
end
local function release(t,lock)t:try(M.remove_id(lock.name,"",lock.id),lock.at)end
local function source(t,key,b,p)
local q,tickets=M.ask_id(key,b),{}
for _,x in ipairs(t.before)do
if t:clean(x)then tickets[x]=t:send(q,x)end
end
if not tickets[p]then tickets[p]=t:send(q,p)end
t:wait()
local here=t:got(tickets[p])
if not here or here:ok()and here:hit()then return nil end
for _,x in ipairs(t.before)do
local res=t:got(tickets[x])
if res and res:ok()then
if res:hit()then return x end
if not t.V or not t:hollow(x)then return nil end
end
end
end
local function confirm(t,key,b,id,from,list)
for _,x in ipairs(list)do
if x==from then
local res=t:try(M.ask_id(key,b),x)
if not res then return nil end
return M.id_of(res)==id
end
end
local res=t:try(M.remove_id(key,b,id),from)
if not res then
t:owe(from,key,b)
return nil
end
return res:ok()and res:code()==mcp.MCMC_CODE_OK
end
local function move(t,key,b,p,list,from,lock)
local item=M.item(t:try(M.ask_item(key,b),from))
if not item then return false end
if mono()- lock.start>M.DELTA then return true end
local put=M.place_item(key,b,item," ME")
local done=t:try(put,p)
if not done or not done:ok()or done:code()~=mcp.MCMC_CODE_OK then return false end
local others={}
for _,x in ipairs(list)do
if x~=p and x~=from then others[#others+1]=x end
end
if#others>0 then t:all(put,others,nil,key,b)end
if confirm(t,key,b,item.id,from,list)==false then
t:all(M.remove_id(key,b,item.id),list,from)
end
return false
end
local function bring(t,key,b,list,keep)
local p=t:lead(list)
if not p or not keep and not source(t,key,b,p)then return nil end
for try=1,TRIES do
local lock=take(t,key,p)
if not lock then return nil end
local from=source(t,key,b,p)
local late=from and move(t,key,b,p,list,from,lock)
if keep and(not late or try==TRIES)then return lock end
release(t,lock)
if not late then return nil end
end
end
function Copies:moving(r,cmd,key,list,class,act)
local b=r:has_flag("b")and" b"or""
local lock=class~=M.STORE and bring(self,key,b,list,class==M.REMOVE or cmd==mcp.CMD_MD)
local res=self.left and self.out or act(self,r,cmd,key,list)
if not self.left then self:all(M.remove_key(key,b),self.old,nil,key,b)end
if lock then release(self,lock)end
return res
end
end
do
local format=string.format
local mono=mcp.time_mono_millis
local FORCE<const> =M.FORCE
local Copies=M.Copies
local LIMIT<const> =20000
function Copies:known_lost(x)return self.V and self.servers[x].lost and not self.servers[x].ready end
local function post(t,x,marks)
local text,tickets,took="",{},0
for _,mark in ipairs(marks)do
text=text .." ".. M.mark_text(mark)
t.V.known[M.mark_name(mark)]=mark
end
local q=M.request(format("ms %s %d MA N0",M.VIEW,#text),text .."\r\n")
for _,y in ipairs(t.q)do
if y~=x and not t.dead[y]then tickets[#tickets+1]=t:send(q,y)end
end
t:wait()
for _,ticket in ipairs(tickets)do
local res=t:got(ticket)
if res and res:ok()and res:code()==mcp.MCMC_CODE_OK then took=took+1 end
end
return took
end
local function copied(t)
local ring=t.memory.next or t.memory.ring
return ring.R>1 or ring.R==0 and t.several or ring.before
end
local function backed(t,x)return copied(t)and x<=(t.regulars or x)end
function Copies:has_copies()return copied(self)end
local function distrust(t,x,bad,marks,again)
local rec=t.servers[x]
local worse,turns=bad>rec.bad,rec.bad==0
if worse then t:change(rec,bad)end
local took=post(t,x,marks)
if t.used_up then t.V.unposted[x]=marks end
rec.force=mono()+FORCE+t:found_later(took)
if worse or again then rec.till=math.max(rec.till,rec.force)end
if turns or again then rec.turned=math.max(rec.turned,rec.force)end
end
function Copies:post_again()
local unposted=self.V.unposted
local x,marks=next(unposted)
while x and not self.used_up do
unposted[x]=nil
distrust(self,x,self.servers[x].bad,marks,true)
x,marks=next(unposted)
end
end
function Copies:lose(x)
local V=self.V
local rec=V and self:has_copies()and self.servers[x]
if not rec then return end
rec.back=nil
if rec.lost and not rec.ready then return end
if not rec.lost then V.tends=V.tends+1 end
rec.lost,rec.ready=not rec.ready and rec.lost or mono(),nil
rec.probed=mono()+M.TIMEOUT*1000
rec.force,V.losses=mono()+FORCE,math.max(V.losses+1,mcp.time_real_millis())
rec.owner=format("%sn%x",V.me,V.losses)
distrust(self,x,M.stale(V.losses),{{state="d",server=rec.name,owner=rec.owner}})
end
function Copies:ask_whole(x)return M.request("mg "..(self.servers[x].emptied and M.NOTED or M.WHOLE).." v")end
function Copies:mark_emptied(x)
local rec,now=self.servers[x],mcp.time_real_millis()
if not backed(self,x)then return end
local marks={{state="d",server=rec.name,owner="all"},{state="r",server=rec.name,owner=format("e%x",now)}}
rec.all,rec.emptied=marks,now
self:try(M.request("ms ".. M.NOTED .." 1","1\r\n"),x)
distrust(self,x,M.hollow(now),marks)
end
function Copies:emptied(x)
local rec=self.servers[x]
if not self.V or not backed(self,x)then return false end
if rec.turns~=self.turns then return true end
local res=self:ask(self:ask_whole(x),x)
if not res then return true end
if not res:ok()or res:hit()then return false,res:raw_string()=="VA 1\r\n2\r\n"end
self:mark_emptied(x)
return true
end
function Copies:start_anew()
local V,regulars=self.V,self.regulars or#self.servers
if V.every<M.SELDOM or mono()- V.gap<M.QUIET then return end
for x=1,regulars do
if not self.servers[x].emptied or self.servers[x].bad>=2 then return end
end
for x=1,regulars do
local rec=self.servers[x]
self:send(M.request("ms ".. M.WHOLE .." 1","2\r\n"),x)
rec.all={{state="r",server=rec.name,owner="all"}}
end
self:wait()
end
function Copies:owe(x,key,b)
local V=self.V
local rec=V and self:has_copies()and self.servers[x]
if not rec then return end
self:lose(x)
self.missed,self.hurt=self.missed or{},true
self.missed[rec]=true
if rec.too_many then return end
local name=key .. b
if not rec.owed[name]then rec.owing=rec.owing+1 end
rec.owed[name]=true
if rec.owing>LIMIT then rec.too_many,rec.owed,rec.owing=mono(),{},0 end
end
function Copies:in_force()
for rec in pairs(self.missed or{})do
while not self.used_up do
self:post_again()
local left=rec.force - mono()
if left<=0 then break end
self.rctx:sleep(left/1000)
end
end
end
end
do
local match=string.match
local mono=mcp.time_mono_millis
local Copies=M.Copies
local PROBE<const> =100
local SETTLE_MIN<const>,SETTLE_MAX<const> =300,60000
local READY<const> =3*M.LEASE+2*(M.GRACE+M.HEAD)
local NOTES<const> =1000
M.SELDOM=31
local function put(t,key,b,item,source,x,there)
if not(t:room(source,1)and t:room(x,2))then return false end
local done=t:try(M.place_item(key,b,item,there and" C".. there or" ME"),x)
local now=t:try(M.ask_id(key,b),source)
if now and M.id_of(now)==item.id then return done and done:ok()and done:code()==mcp.MCMC_CODE_OK end
if done then t:try(M.remove_id(key,b,item.id),x)end
return false
end
local function opinions(t,name,key,b,list)
local looks,wholes,has,knows,best,kept={},{},{},{},nil,false
for _,y in ipairs(list)do
local rec=t.servers[y]
if not rec.lost or rec.back then
looks[y],wholes[y]=t:send(M.ask_id(key,b),y)or false,t:send(M.request("mg ".. M.WHOLE),y)
if not(rec.owed[name]or rec.too_many)then knows[y]=true end
end
end
t:wait()
for y,look in pairs(looks)do
local res,whole=t:got(look),t:got(wholes[y])
if not res or not whole or not res:ok()or not whole:ok()then return nil end
has[y],wholes[y]=M.id_of(res)or false,whole:hit()
if has[y]and(not best or tonumber(has[y])>tonumber(has[best]))then best=y end
end
for y in pairs(next(knows)and knows or has)do
if not has[y]and wholes[y]then return has,nil end
kept=kept or has[y]
end
return has,kept and best
end
local function agree(t,name,key,b,list)
local has,best=opinions(t,name,key,b,list)
if not has then return false end
local found=best and t:try(M.ask_item(key,b),best)
if best and not(found and found:ok())then return false end
local item,same=M.item(found),true
t:give_back(found,best,key,b)
for y,there in pairs(has)do
if there~=(item and item.id or false)then
same=false
if item then put(t,key,b,item,best,y,there)
else t:try(M.remove_id(key,b,there),y)end
end
end
return same
end
local function forget(t,x,key,b)
local gone=t:try(M.remove_key(key,b),x)
return gone and gone:ok()
end
local function compare(t,x,key,b)
local regular,holds=t:servers_of(key),false
for _,y in ipairs(regular)do holds=holds or y==x end
if not holds then return forget(t,x,key,b)end
local list=t.stand_ins and t:with_stand_in(regular,key)or regular
if#list==1 then return true end
local source=t:lead(list)
if not source then return false end
if source==x or t.servers[source].bad>=2 then
if#regular>1 then return agree(t,key .. b,key,b,regular)end
return forget(t,x,key,b)
end
local item_ticket,id_ticket=t:send(M.ask_item(key,b),source),t:send(M.ask_id(key,b),x)
t:wait()
local found,seen=t:got(item_ticket),t:got(id_ticket)
if not found or not seen or not found:ok()or not seen:ok()then return false end
local item,there=M.item(found),M.id_of(seen)
t:give_back(found,source,key,b)
if item and item.id==there then return t:counts(source,list)end
if item then return put(t,key,b,item,source,x,there)and t:counts(source,list)end
if not there then return t:counts(source,list)end
local gone=t:try(M.remove_id(key,b,there),x)
return gone and gone:ok()and gone:code()~=mcp.MCMC_CODE_EXISTS and t:counts(source,list)
end
local function mend(t,x,rec)
local now=mono()
local name,since,tries=nil,nil,0
for key,value in pairs(rec.owed)do
if value==true or now - value>1000 then name,since=key,value break end
tries=tries+1
if tries>8 then break end
end
if not name then return end
rec.owed[name]=now
local key,b=match(name,"^(%S+)(.*)$")
if compare(t,x,key,b)then
if rec.owed[name]==now then rec.owed[name],rec.owing=nil,rec.owing - 1 end
elseif rec.owed[name]==now then
rec.owed[name]=since
end
end
local function recover(t,x,rec)
local now=mono()
if not rec.back then
if now - rec.probed<PROBE then return end
rec.probed=now
local res=t:try(t:ask_whole(x),x)
if not res or not res:ok()or rec.back then return end
rec.back=mono()
if not res:hit()then t:mark_emptied(x)end
elseif rec.too_many or now - rec.back<math.min(math.max(rec.back - rec.lost,SETTLE_MIN),SETTLE_MAX)then
return
elseif rec.owing>0 then
mend(t,x,rec)
elseif not rec.ready then
rec.ready=now
t.V.early=0
elseif(rec.everywhere or t.kept_for)and now - rec.ready>READY+M.LEASE+(t.kept_for or 0)then
rec.lost,rec.ready,rec.back=nil,nil,nil
t.V.tends,t.V.early=t.V.tends - 1,0
end
end
function Copies:tend()
for x,rec in ipairs(self.servers)do
if rec.lost then recover(self,x,rec)end
end
local V=self.V
local note=V.later[1]
if note and mono()>=note.at then
table.remove(V.later,1)
V.later[note.key .. note.b],V.tends=nil,V.tends - 1
self:complete(note.key,note.b,self:servers_of(note.key))
end
end
function Copies:note(key,b)
local V=self.V
if not V or#V.later>=NOTES or V.later[key .. b]then return end
V.later[key .. b]=true
V.later[#V.later+1]={key=key,b=b,at=mono()+M.DELTA}
V.tends=V.tends+1
end
local function ask_emptied(t,key,b,list)
local tickets
for _,x in ipairs(list)do
if t:takes(x)and(not t.V or t.servers[x].emptied)then
tickets=tickets or{}
tickets[x]=t:send(M.ask_id(key,b),x)
end
end
return tickets
end
local function lacks(t,ticket)
local res=t:got(ticket)
return res and res:ok()and not res:hit()
end
function Copies:sample(key,r,list)
local V=self.V
if V.calm then return nil end
V.reads=V.reads+1
if V.reads<V.every then return nil end
V.reads=0
return ask_emptied(self,key,r:has_flag("b")and" b"or"",list)
end
function Copies:sampled(key,b,tickets)
local V,missing=self.V,false
for _,ticket in pairs(tickets)do missing=missing or lacks(self,ticket)end
if missing then V.gap=mono()end
V.every=missing and 1 or math.min(V.every*2,M.SELDOM)
if missing then self:note(key,b)end
end
local function lacking(t,key,b,list)
local tickets,found=ask_emptied(t,key,b,list)or{},{}
t:wait()
for _,x in ipairs(list)do
if tickets[x]and lacks(t,tickets[x])then found[#found+1]=x end
end
return found
end
function Copies:complete(key,b,list)
local source,item,any
for _,x in ipairs(list)do
if self:clean(x)then
local res=self:try(M.ask_item(key,b),x)
source,item=x,M.item(res)
self:give_back(res,x,key,b)
if item or self.V then break end
end
end
if not item then return false end
for _,x in ipairs(lacking(self,key,b,list))do
if x~=source and put(self,key,b,item,source,x,nil)then any=true end
end
return any
end
function Copies:give_up(key,b,p,list)
local tickets,found={},false
for _,x in ipairs(list)do
if x~=p and self:takes(x)then tickets[x]=self:send(M.ask_id(key,b),x)end
end
self:wait()
for _,x in ipairs(list)do
local res=self:got(tickets[x])
local id=res and M.id_of(res)
if id then
found=true
self:all(M.remove_id(key,b,id),{x},nil,key,b)
elseif x~=p and not res then
self:owe(x,key,b)
end
end
return found
end
end
do
local Copies=M.Copies
local match=string.match
local id_at=M.id_at
local DOUBTS<const>,CHAIN<const> =256,3
local STEP<const>,LONGEST<const> =0.001,1000
local doubts,sent={},0
function M.sends()
sent=sent+1
return sent
end
function Copies:doubt(how,name)
self.doubtful,self.hurt=true,true
how.doubt={name=name,id=how.id,sent=how.sent,delta=how.delta,sure=how.sure,placed=how.placed or{},value=how.value}
if how.id then
if#doubts>=DOUBTS then table.remove(doubts,1)end
doubts[#doubts+1]=how.doubt
self:close_doubt()
self.open,how.doubt.open=how.doubt,true
end
end
function Copies:close_doubt()
if self.open then self.open.open,self.open=false,nil end
end
function Copies:go_behind(name,mine)
local start,before=mcp.time_mono_millis(),{}
for _,other in ipairs(doubts)do
if other.open and other.name==name and other.sent<mine then before[#before+1]=other end
end
for _,other in ipairs(before)do
while other.open and mcp.time_mono_millis()- start<LONGEST do self.rctx:sleep(STEP)end
end
end
local function chain(mine)
local list={mine}
for _,other in ipairs(doubts)do
if other.name==mine.name and other.sent>mine.sent and not other.void and#list<CHAIN then
list[#list+1]=other
end
end
table.sort(list,function(a,b)return a.sent<b.sent end)
return list
end
local function back(list,j,value)
for i=j,2,-1 do value=M.before(value,list[i].delta)end
return value
end
function Copies:resolve(p,list,key,b,mine)
local later,tickets,asked=chain(mine),{},{}
local q=M.request("mg ".. key .. b .." v c u")
local look=self:send(q,p)
for j,other in ipairs(later)do
tickets[j],asked[j]={},M.request("mg ".. M.PASSED .. other.id .." v")
for _,x in ipairs(list)do
if#list>1 and not self.dead[x]then tickets[j][x]=self:send(asked[j],x)end
end
end
self:wait()
local now=look and(self:got(look)or self:retry(q,p,look))
if not now then return nil end
local id,value=id_at(now),M.value_of(now)
for j,other in ipairs(later)do
if id==other.id then return true,mine.value or back(later,j,value),j==1,j>1 end
if other.placed[p]then return true,mine.value,false,j>1 end
for _,x in ipairs(list)do
local ticket=tickets[j][x]
local note=ticket and(self:got(ticket)or self:retry(asked[j],x,ticket))
if note and note:ok()and note:hit()then
return true,mine.value or back(later,j,match(note:raw_string()or"","\r\n(%d+)\r\n$")),false,j>1
end
end
end
return false
end
end
do
local Copies=M.Copies
local match,format=string.match,string.format
local mono,id_at=mcp.time_mono_millis,M.id_at
local ROUNDS<const> =3
local LIFE<const> =3
local function copy_of(seen,p)
local id=id_at(seen[p])
for x,res in pairs(seen)do
if id and x~=p and M.is_version(res,id)then return res end
end
end
local function together(t,q,p,list,key,b,how)
local looks,counts,item,after={},how.fresh=="number",nil,nil
local tried={p=p,start=mono(),seen={}}
if#list>1 then
local look=M.ask_id(key,b)
local others=counts and M.ask_counter(key,b)or look
for i=1,#list do
local x=list[i]
if(x==p or not how.sure)and t:takes(x)then looks[x]=t:send(x==p and look or others,x)end
end
end
how.sent=M.sends()
tried.cmd=t:send(q,p)
local stamp=how.stamps and t:send(M.stamp(key,b,how.id),p)
if how.fresh=="item"then item=t:send(M.ask_item(key,b),p)
elseif counts then after=t:send(M.ask_id(key,b),p)end
t:wait()
local seen=tried.seen
for x,ticket in pairs(looks)do
seen[x]=t:got(ticket)
if x~=p and t:hangs(ticket,x)then t:owe(x,key,b)end
if x~=p and(counts or b~="")then t:give_back(seen[x],x,key,b)end
end
if item then
local res=t:got(item)
t:give_back(res,p,key,b)
tried.fresh=M.item(res)
end
local copy=after and copy_of(seen,p)
tried.fresh=tried.fresh or copy and M.counted(t:got(stamp),t:got(after),copy,how.id)
return tried
end
local function untouched(t,p,key,b,before)
local now=t:ask(M.ask_id(key,b),p)
if not now or not before or not before[p]then return nil end
return id_at(now)==id_at(before[p])
end
local function ready(t,list,key,b,how,before)
local mine=how.doubt
if mine and not mine.id and t:lead(list,mine)then t:go_behind(key .. b,how.sent)end
local p,done,value,last,later=t:lead(list,mine),nil,nil,nil,nil
if not p then return nil end
while mine and mine.id and done==nil do
done,value,last,later=t:resolve(p,list,key,b,mine)
if done==nil then
if t.used_up then return nil end
t:owe(p,key,b)
p=t:lead(list,mine)
if not p then return nil end
end
end
if mine and mine.id then
if done and later and not(value or mine.sure)then return nil,nil,true end
if done then
if mine.old then
t:witness({id=mine.old,value=(M.before(value,mine.delta)or"").."\r\n"},p,list)
t:wait()
end
return nil,{done=true,value=value,p=p,seen={},last=last}
end
mine.void=true
elseif mine and how.once then
local same=untouched(t,p,key,b,before)
if same==false then return nil,nil,true end
if same==nil then t:ask(M.remove_key(key,b),p)end
end
how.doubt=nil
return not(mine and t:has_left())and p or nil
end
local function outcome(t,tried,list,key,b,how)
local p,cmd=tried.p,tried.cmd
local res=t:got(cmd)
local late=res and#list>1 and t.V and tried.start+res:elapsed()/1000>=t.limit
if res and not late then return{res=res,p=p,seen=tried.seen,fresh=tried.fresh}end
t:doubt(how,key .. b)
how.doubt.old=id_at(tried.seen[p])
if late and t:counts(p,list)then
t.doubtful=false
return{res=res,p=p,seen=tried.seen,fresh=tried.fresh}
end
if not res and not t:retry(M.ask_id(key,b),p,cmd)then
t.dead[p]=true
if not t.used_up or t:known_lost(p)then t:owe(p,key,b)end
elseif not res and#list>1 then
t.rctx:sleep(M.GRACE/1000)
end
end
local function abandon(t,list,key,b,how)
for i=1,t:known_lost(how.at)and 0 or#list do
local x=list[i]
if x~=how.at and not(how.placed and how.placed[x])then t:owe(x,key,b)end
end
end
function Copies:decide(q,list,key,b,how)
local before
local tried=how.tried
if tried then
how.tried,self.limit,self.turns=nil,tried.limit,tried.turns
tried.seen={[tried.p]=self:got(tried.look)}
end
while true do
if not tried then
local p,did,unknown=ready(self,list,key,b,how,before)
if not p then
if self.used_up and how.at and not did then abandon(self,list,key,b,how)end
return did,unknown
end
tried=together(self,q,p,list,key,b,how)
end
how.at=tried.p
local did=outcome(self,tried,list,key,b,how)
if did then return did end
before,tried=before or tried.seen,nil
end
end
function Copies:give_back(res,x,key,b)
local q=M.give_back(res,key,b)
if q then self:ask(q,x)end
end
local function offer(t,key,b,pending,condition,version)
local tickets,made,refused,added={},{},{},{}
for _,x in ipairs(pending)do
local c=condition[x]
made[c]=made[c]or version.make(c)
tickets[x]=t:send(made[c],x)
end
t:wait()
for _,x in ipairs(pending)do
local q=made[condition[x]]
local res=tickets[x]and(t:got(tickets[x])or t:retry(q,x,tickets[x]))
if not res then t:owe(x,key,b)
elseif res:ok()and res:code()==mcp.MCMC_CODE_OK then
if version.placed then version.placed[x]=true end
if condition[x]==" ME"then added[#added+1]=x end
else refused[#refused+1]=x end
end
return refused,added
end
local function remove_from(t,q,servers,key,b)
if#servers>0 then t:all(q,servers,nil,key,b)end
end
local function note(t,id,value,servers)
if not id or#servers==0 then return end
value=value or""
local q=M.request(format("ms %s%s %d T%d",M.PASSED,id,#value,LIFE),value .."\r\n")
for _,x in ipairs(servers)do t:send(q,x)end
end
function Copies:witness(item,p,list)
local others={}
for _,x in ipairs(list)do
if x~=p and self:takes(x)then others[#others+1]=x end
end
note(self,item.id,match(item.value,"^(%d+)\r\n$"),others)
end
local function is_hit(t,ticket)
local res=t:got(ticket)
return res and res:ok()and res:hit()
end
local function without_authority(t,key,b,p,list,version,refused,added)
t.rctx:sleep(M.GRACE/1000)
local condition,passed,older,vain,unclear={},{},{},{},{}
local q=M.request("mg ".. M.PASSED .. version.id)
for _,x in ipairs(refused)do passed[x]=t:send(q,x)end
for _,x in ipairs(added)do passed[x]=t:send(q,x)end
local tickets={}
for _,x in ipairs(refused)do tickets[x]=t:send(M.ask_id(key,b),x)end
t:wait()
for _,x in ipairs(refused)do
local there=id_at(t:got(tickets[x]))
if not is_hit(t,passed[x])then
if(there or false)==(version.old or false)then
older[#older+1],condition[x]=x,there and" C".. there or" ME"
elseif there then unclear[#unclear+1]=there end
end
end
for _,x in ipairs(added)do
if is_hit(t,passed[x])then vain[#vain+1]=x end
end
remove_from(t,M.remove_id(key,b,version.id),vain,key,b)
for _,there in ipairs(unclear)do t:all(M.remove_id(key,b,there),list,p,key,b)end
remove_from(t,M.remove_key(key,b),(offer(t,key,b,older,condition,version)),key,b)
end
local function purge(t,key,b,p,left)
for _=1,ROUNDS do
if#left==0 then return end
local looks,removals,again={},{},{}
for _,x in ipairs(left)do looks[x]=t:send(M.ask_id(key,b),x)end
t:wait()
local now=t:ask(M.ask_id(key,b),p)
if now and now:hit()then return end
for _,x in ipairs(left)do
local there=id_at(t:got(looks[x]))
removals[x]=there and t:send(M.remove_id(key,b,there),x)
end
t:wait()
for _,x in ipairs(left)do
local res=removals[x]and t:got(removals[x])
if removals[x]and not(res and res:ok()and res:code()~=mcp.MCMC_CODE_EXISTS)then again[#again+1]=x end
end
left=again
end
remove_from(t,M.remove_key(key,b),left,key,b)
end
local function holding_others(servers,answers)
local left={}
for _,x in ipairs(servers)do
if answers[x]and answers[x]:code()==mcp.MCMC_CODE_EXISTS then left[#left+1]=x end
end
return left
end
local function take_back(t,key,b,p,id,added)
if#added==0 then return end
purge(t,key,b,p,holding_others(added,t:all(M.remove_id(key,b,id),added,nil,key,b)))
end
function Copies:spread(key,b,p,list,version)
local pending,condition,id,old,newer={},{},version.id,version.old,false
for i=1,#list do
local x=list[i]
if x~=p and not self.dead[x]then pending[#pending+1]=x end
if x~=p and self.dead[x]then self:owe(x,key,b)end
condition[x]=old and" C".. old or" ME"
end
for round=1,ROUNDS do
local refused,added=offer(self,key,b,pending,condition,version)
if#refused==0 and#added==0 then return true end
if not self:counts(p,list)then return false end
local tickets={}
if round==1 then note(self,old,version.number,refused)end
for _,x in ipairs(refused)do tickets[x]=self:send(M.ask_id(key,b),x)end
local now=self:ask(M.ask_id(key,b),p)
local gone=not now
gone=gone or not now:hit()and self:emptied(p)
if self.dead[p]then self:owe(p,key,b)end
if gone then
without_authority(self,key,b,p,list,version,refused,added)
return true
end
local held=id_at(now)
newer=held~=id
if newer then take_back(self,key,b,p,id,added)end
if newer and not(held and old)then return true end
pending={}
for _,x in ipairs(refused)do
local there=id_at(self:got(tickets[x]))
if there~=id and(not newer or there~=held)then pending[#pending+1]=x end
local upon=newer and old or there
condition[x]=upon and" C".. upon or" ME"
end
if#pending==0 then return true end
end
if not newer then remove_from(self,M.remove_key(key,b),pending,key,b)end
return true
end
function Copies:erase(key,b,p,list,seen)
local ids,had,behind,left,answers={},id_at(seen[p]),{},{},{}
for i=1,#list do
local x=list[i]
local id=id_at(seen[x])
if id and not had and x~=p then left[#left+1]=x end
if id and had and id~=had and not ids[id]then
ids[id]=true
ids[#ids+1]=id
end
if seen[x]and id~=had then behind[#behind+1]=x end
end
note(self,had,nil,behind)
for i=1,math.min(#ids,2)do answers=self:all(M.remove_id(key,b,ids[i]),list,p,key,b)end
if had then answers=self:all(M.remove_id(key,b,had),list,p,key,b)end
for _,x in ipairs(holding_others(list,answers))do left[#left+1]=x end
purge(self,key,b,p,left)
self:all(M.remove_key(key,b),self:unseen(list,seen),p,key,b)
end
function Copies:unseen(list,seen)
local rest={}
for i=1,#list do
if not seen[list[i]]then rest[#rest+1]=list[i]end
end
return rest
end
end
do
local mono,ANY,READ<const>,STORE<const> =mcp.time_mono_millis,mcp.WAIT_ANY,M.READ,M.STORE
local MOST<const> =4
local Copies=M.Copies
local function took(res)return res:code()==mcp.MCMC_CODE_OK end
local function wait(t,n)
local queued=t.queued
t.queued=0
t.rctx:wait_cond(n+queued,ANY)
end
local function ask_one(t,r,class,list,limit)
local handle=t.H[list[1]][1]
local res=class==STORE and t:ask_by(r,handle)or t.rctx:enqueue_and_wait(r,handle)
local counts=class==STORE or mono()<limit
if class==STORE then
if res:ok()then return M.answer(t,r,res)end
elseif counts and res:hit()then return res end
return nil,{list=list,used=1,counts=counts}
end
local function offer(t,q,list,n)
local rctx,H,all=t.rctx,t.H,true
for i=2,#list do rctx:enqueue(q,H[list[i]][n])end
rctx:wait_cond(#list - 1,ANY)
for i=2,#list do all=took(rctx:result(H[list[i]][n]))and all end
return all
end
local function translated(t,r,cmd,key)
if cmd==mcp.CMD_SET then
local id=M.new_id()
local says,size=M.says(r,cmd,id)
if says then return t:fill("item",r,says,r),id,"word",nil,says,size end
elseif not r:has_flag("b")then
local q,id,form,make=M.translate(r,cmd,key)
if make then return q,id,form,make end
end
end
local function put(t,r,cmd,key,list,start,limit)
local q,id,form,make,says,size=translated(t,r,cmd,key)
if not q then return end
local rctx,H,p,sent=t.rctx,t.H,list[1],M.sends()
local look,ticket,turns,old=H[p][1],H[p][2],t.servers[p].turns,nil
rctx:enqueue(t:fill("look",r),look)
rctx:enqueue(q,ticket)
wait(t,2)
local before,res=rctx:result(look),rctx:result(ticket)
if took(res)and mono()<limit then old=M.id_of(before)end
local copy=old and(says and t:fill("copy",r,says .." C".. old,r)or make(" C".. old))
if old and offer(t,copy,list,1)then return form and M.done(t,r,nil,form)or M.answer(t,r,res)end
make=make or M.maker(r,key,says,size)
local tried={p=p,start=start,limit=limit,turns=turns,look=look,cmd=ticket}
local how={id=id,sure=true,sent=sent,placed={},tried=tried}
return nil,{list=list,used=2,uses=1,spread=old,q=q,form=form,make=make,how=how}
end
local function count(t,r,cmd,key,list,start,limit)
local id=M.new_id()
local says,delta=M.counts_by(r,cmd,id)
if not says then return end
local q,look=t:fill("count",r,says),t:fill("look",r)
local rctx,H,p,sent=t.rctx,t.H,list[1],M.sends()
local mine,other,turns,old,item=H[p],H[list[2]][1],t.servers[p].turns,nil,nil
rctx:enqueue(look,mine[1])
rctx:enqueue(q,mine[2])
rctx:enqueue(t:fill("stamp",r,M.STAMP .. id),mine[3])
rctx:enqueue(look,mine[4])
rctx:enqueue(t:fill("counter",r,M.COUNTER),other)
wait(t,5)
local before,res,copy=rctx:result(mine[1]),rctx:result(mine[2]),rctx:result(other)
if took(res)and mono()<limit then old=M.id_of(before)end
if old and M.is_version(copy,old)then
item=M.counted(rctx:result(mine[3]),rctx:result(mine[4]),copy,id)
end
if item and offer(t,t:fill("copy",r,M.item_says(item," C".. old),item.value),list,2)then
return M.answer(t,r,res,"number")
end
local tried={p=p,start=start,limit=limit,turns=turns,look=mine[1],cmd=mine[2],fresh=item}
local how={id=id,delta=delta,sent=sent,placed={},tried=tried}
return nil,{list=list,used=4,uses=2,look=true,spread=item,q=q,form="number",how=how}
end
local function read_on(t,V,list)
V.due=V.valid
if not M.reads_early(V)then return end
t:begin()
for i=1,#list do t.used[list[i]]=MOST end
t:renew()
end
function M.usual(known)
local V,orders=known.memory,known.orders
return function(t,r,cmd,key,class)
if not(V.calm and V.steady)or V.tends>0 or V.kept or V.waiting>0 then return end
local counts=class~=READ and class~=STORE
if counts and cmd~=mcp.CMD_INCR and cmd~=mcp.CMD_DECR then return end
local now=mono()
if now>=V.valid then return end
local ring,res,begun=V.ring,nil,nil
local list=orders[ring.place](key)
if list.unknown then return end
local limit=V.valid+M.GRACE
V.asks=V.asks+1
if class~=READ and#list>1 then res,begun=(counts and count or put)(t,r,cmd,key,list,now,limit)
elseif counts then return
else res,begun=ask_one(t,r,class,list,limit)end
if res and V.due~=V.valid and mono()>=V.early then read_on(t,V,list)
elseif begun then begun.ring=ring end
return res,begun
end
end
function Copies:take_over(begun)
local H,list,n=self.H,begun.list,begun.uses
local p=list[1]
self.used[p]=begun.used
for i=2,n and#list or 1 do self.used[list[i]]=n end
if not self:hangs(H[p][begun.used],p)and begun.counts then self.asked=p end
if begun.look then self:hangs(H[list[2]][1],list[2])end
for i=2,begun.spread and#list or 1 do
local x=list[i]
if not self:hangs(H[x][n],x)and took(self.rctx:result(H[x][n]))then begun.how.placed[x]=true end
end
self.begun=begun.how and begun
end
end
do
local function b_flag(r)return r:has_flag("b")and" b"or""end
local function missed(res)
local code=res:code()
return res:ok()and(code==mcp.MCMC_CODE_NOT_FOUND or code==mcp.MCMC_CODE_END or code==mcp.MCMC_CODE_NOT_STORED)
end
local function wrong_request(res)return res:code()==mcp.MCMC_CODE_CLIENT_ERROR end
local function again(t,key,b,p,list)
if t.V then
local gone,anew=t:emptied(p)
return gone or anew and t:give_up(key,b,p,list)
end
return t:complete(key,b,list)
end
local function read(t,r,cmd,key,list)
while true do
local p=t:lead(list)
if not p then return M.unreachable(t,r,cmd)end
local copied=#list>1 and cmd~=mcp.CMD_ME
local looks=copied and t.V and t:sample(key,r,list)
local res=t:hear(r,p)
if res and wrong_request(res)then return res end
if res and res:ok()then
if not copied then return res end
if t:counts(p,list)then
if res:hit()and looks then t:sampled(key,b_flag(r),looks)end
if res:hit()or not again(t,key,b_flag(r),p,list)then return res end
end
else
t.dead[p],t.hurt=true,true
end
end
end
local function touch(t,r,cmd,key,list)
local b,q,id=b_flag(r),r,nil
if cmd==mcp.CMD_MG then q,id=M.translate(r,cmd,key)end
if id and#list>1 and M.creates(r,cmd)then return M.decided(t,r,cmd,key,list,q,{id=id})end
local res,p
repeat
res,p=t:first(q,list)
if not res or M.reads(cmd)and not res:ok()and not wrong_request(res)then return M.unreachable(t,r,cmd)end
if#list==1 then return M.answer(t,r,res)end
until t:counts(p,list)and not(missed(res)and again(t,key,b,p,list))
local seconds=res:ok()and not missed(res)and M.lifetime(r,cmd)
if seconds then t:all(M.request("mg ".. key .. b .." T".. seconds),list,p,key,b)end
return M.answer(t,r,res)
end
local function store_alone(t,r,cmd,list)
local res=t:first(r,list)
if not res then return M.unreachable(t,r,cmd)end
return M.answer(t,r,res)
end
local function publish(t,key,b,did,list,old,how)
local item=did.fresh
if not item then
local res=t:ask(M.ask_item(key,b),did.p)
if not res then return false end
t:give_back(res,did.p,key,b)
item=M.item(res)
if not item and t:emptied(did.p)then return false end
end
if item then
if item.id~=how.id then t:witness(item,did.p,list)end
local before=did.res and M.before(M.value_of(did.res),how.delta)
local function make(condition)return M.place_item(key,b,item,condition)end
return t:spread(key,b,did.p,list,{id=item.id,old=old,make=make,number=before,placed=how.placed})
end
t:all(M.remove_key(key,b),list,did.p,key,b)
return true
end
local function astray(t,did,key,b,list,creates,how)
local res,seen=did.res,did.seen[did.p]
if seen and(not seen:ok()or seen:hit())or not res:ok()or not creates and not missed(res)then return false end
local made,elsewhere=not missed(res),false
for _,x in ipairs(list)do
local look=x~=did.p and t:takes(x)and(did.seen[x]or t:ask(M.ask_id(key,b),x))
elsewhere=elsewhere or look and look:hit()
end
if not elsewhere then return false end
local gone,anew=t:emptied(did.p)
if anew and not made then t:give_up(key,b,did.p,list)end
if t.V and not gone then return false end
local undo=made and(how.id and M.remove_id(key,b,how.id)or M.remove_key(key,b))
if undo and not t:ask(undo,did.p)then t:doubt(how,key .. b)end
return t.V or again(t,key,b,did.p,list)
end
local function look(cmd,form)
if form=="number"then return"number"end
return cmd~=mcp.CMD_MA and cmd~=mcp.CMD_INCR and cmd~=mcp.CMD_DECR and"item"
end
local function remove(t,r,cmd,key,list)
if#list==1 then return M.best(t,r,cmd,t:all(r,list),list)end
local b,did=b_flag(r),nil
repeat
did=t:decide(r,list,key,b,{})
if not did then return M.unreachable(t,r,cmd)end
until not astray(t,did,key,b,list)
t:erase(key,b,did.p,list,did.seen)
return M.answer(t,r,did.res)
end
local function settle(t,did,key,b,list,how,make)
local res,seen=did.res,did.seen[did.p]
local old=seen and seen:ok()and(M.id_of(seen)or false)
if did.done then return not did.last or publish(t,key,b,did,list,nil,how)end
if res:code()==mcp.MCMC_CODE_SERVER_ERROR then
t:all(M.remove_key(key,b),list,did.p,key,b)
elseif res:ok()and not missed(res)and res:code()~=mcp.MCMC_CODE_EXISTS then
if how.publish then return publish(t,key,b,did,list,old,how)end
if make and how.id then return t:spread(key,b,did.p,list,{id=how.id,old=old,make=make,placed=how.placed})end
t:all(M.remove_key(key,b),list,did.p,key,b)
end
return true
end
function M.decided(t,r,cmd,key,list,q,how,form,make)
local b,several,creates=b_flag(r),#list>1,M.creates(r,cmd)
how.once,how.placed=not how.id,how.placed or{}
how.stamps=how.id and several and(cmd==mcp.CMD_INCR or cmd==mcp.CMD_DECR or cmd==mcp.CMD_MA and not r:has_flag("C"))
how.publish=several and not make and cmd~=mcp.CMD_MD and not r:has_flag("I")
how.fresh=how.publish and look(cmd,form)
while true do
local did,unknown=t:decide(q,list,key,b,how)
if unknown then return M.unknown(t,r)end
if not did then
if how.sure or not how.doubt or not t:has_left()then return M.unreachable(t,r,cmd)end
t.left=false
return M.unknown(t,r)
end
if not several or not(not did.done and astray(t,did,key,b,list,creates,how))then
if not several or settle(t,did,key,b,list,how,make)or not how.id then
if did.done then return M.done(t,r,did.value,form,how.id)end
return M.answer(t,r,did.res,form)
end
how.value=did.done and did.value or not did.done and M.value_of(did.res)or nil
how.placed[did.p],how.sure=true,true
t:doubt(how,key .. b)
end
end
end
local function update(t,r,cmd,key,list)
local begun=t.begun
t.begun=nil
if begun then return M.decided(t,r,cmd,key,list,begun.q,begun.how,begun.form,begun.make)end
local q,id,form,make,delta=M.translate(r,cmd,key)
return M.decided(t,r,cmd,key,list,q,{id=id,delta=delta,sure=M.class(r,cmd)==M.STORE},form,make)
end
local function store(t,r,cmd,key,list)
if#list==1 then return store_alone(t,r,cmd,list)end
return update(t,r,cmd,key,list)
end
M.coherent={usual=M.usual,[M.READ]=read,[M.TOUCH]=touch,[M.STORE]=store,[M.REMOVE]=remove,[M.UPDATE]=update}
end
do
local format,match,gsub=string.format,string.match,string.gsub
local mono=mcp.time_mono_millis
local Copies=M.Copies
local STAND_IN<const> =M.STAND_IN
local KEEP<const> =(STAND_IN+2)*1000
local MONTH<const> =2592000
local function short(seconds)
local number=tonumber(seconds)
if not number or number<0 then return seconds end
if number>MONTH then
number=number - mcp.time_real_millis()//1000
if number<=0 then return"-1"end
elseif number==0 then
number=STAND_IN
end
return format("%d",math.min(number,STAND_IN))
end
local TEXT<const> ={
set="^(%S+ +%S+ +%S+ +)(%-?%d+)(.*)$",touch="^(%S+ +%S+ +)(%-?%d+)(.*)$",gat="^(%S+ +)(%-?%d+)(.*)$",
}
TEXT.add,TEXT.replace,TEXT.append,TEXT.prepend,TEXT.cas,TEXT.gats=TEXT.set,TEXT.set,TEXT.set,TEXT.set,TEXT.set,TEXT.gat
function M.shortened(line)
local verb=match(line,"^%l+")
if TEXT[verb]then
local before,seconds,after=match(line,TEXT[verb])
return before and before .. short(seconds).. after
end
local name,flags=match(line,"^(m[sgad] +%S+)(.*)$")
if not name then return nil end
local least
flags=gsub(flags,"( [TN])(%-?%d+)",function(flag,seconds)
least=least or flag==" T"
return flag .. short(seconds)
end)
if verb=="ms"and not least then flags=flags .." T".. STAND_IN end
return name .. flags
end
local Relief={}
local function for_stand_in(t,q,x)
if x<=t.regulars then return q end
local line=match(q:raw_line(),"^[^\r\n]*")
local other=M.shortened(line)
return other and other~=line and M.request(other,q)or q
end
function Relief:send(q,x)return Copies.send(self,for_stand_in(self,q,x),x)end
function Relief:ask(q,x)return Copies.ask(self,for_stand_in(self,q,x),x)end
function Relief:has_copies()return true end
function Relief:with_stand_in(list,key)
local all={table.unpack(list)}
all[#all+1]=self.regulars+1+M.jump(M.hash(key),self.stand_ins)
return all
end
function Relief:keep(marks)
local V,kept,now=self.V,nil,mono()
for _,mark in ipairs(marks)do
if mark.state=="r"and not match(mark.owner,M.EMPTIED)then
mark.over=now - mark.since>2*KEEP
kept=kept or{}
kept[mark.server]=true
end
end
V.kept=kept
end
local function in_need(t,p)return p>t.regulars or t.servers[p].bad>=2 end
function Relief:lead(list,doubt)
local p=Copies.lead(self,self.everybody or list,doubt)
if p and self.alone and not self.V.calm and in_need(self,p)then
self.left=true
return nil
end
return p
end
local function forget(t,list,everybody,key,b)
for i=1,#list do
if t.V.kept[t.servers[list[i]].name]then
t:all(M.remove_key(key,b),{everybody[#everybody]},nil,key,b)
return
end
end
end
function Relief:relieved(r,cmd,key,list,class,act)
local V,on=self.V,list
self.everybody,self.alone=nil,true
if not V.calm or V.kept then
local everybody=self:with_stand_in(list,key)
local p=Copies.lead(self,everybody)
if not p or in_need(self,p)then
on,self.alone=everybody,false
elseif class~=M.READ and V.kept then
forget(self,list,everybody,key,r:has_flag("b")and" b"or"")
end
self.everybody=everybody
end
local res=not self.left and act(self,r,cmd,key,on)or self.out
self.everybody,self.alone=nil,false
return res
end
function M.relief(known,conf,record)
if not conf.gutter or not known.V then return known end
known.regulars,known.stand_ins,known.kept_for=#known.servers,#conf.gutter,KEEP
for i=1,#conf.gutter do
local rec=record(known.V,"0-".. i)
rec.floor=1.5
known.servers[#known.servers+1]=rec
end
for name,method in pairs(Relief)do known[name]=method end
return known
end
end
do
local GOOD=mcp.WAIT_GOOD
local function read(t,r,cmd,key,list)
if#list==1 then return M.coherent[M.READ](t,r,cmd,key,list)end
local rctx,tickets,miss=t.rctx,{},nil
for i=1,#list do tickets[i]=t:send(r,list[i])end
if t.memory.steady and not t.near then
t.queued,t.spent=0,true
rctx:wait_cond(1,GOOD)
else
t:wait()
end
for i=1,#list do
local res,kind=rctx:result(tickets[i])
if kind==mcp.RES_GOOD then return res end
end
for i=1,#list do
local x=list[i]
local res,kind=rctx:result(tickets[i])
if kind~=mcp.RES_OK and res and not res:raw_string()then res=t:retry(r,x,tickets[i])end
if res and res:hit()then return res end
if res and(res:ok()or res:code()==mcp.MCMC_CODE_CLIENT_ERROR)then miss=miss or res end
end
return miss or M.miss(t,r)
end
local function store(t,r,cmd,key,list)
if#list==1 then return M.coherent[M.STORE](t,r,cmd,key,list)end
local q,_,form=M.translate(r,cmd,r:key())
return M.best(t,r,cmd,t:all(q,list),list,form)
end
local function remove(t,r,cmd,key,list)return M.best(t,r,cmd,t:all(r,list),list)end
M.fastest={
[M.READ]=read,[M.TOUCH]=M.coherent[M.TOUCH],[M.STORE]=store,[M.REMOVE]=remove,
[M.UPDATE]=M.coherent[M.UPDATE],
}
end
do
local match,find=string.match,string.find
local function near_can(r,cmd)
if cmd==mcp.CMD_GET then return true end
return cmd==mcp.CMD_MG and not find(match(r:raw_line(),"^%S+ +%S+(.*)")," [^vfskbqO ]")
end
local function value_in(res)return res:ok()and res:code()==mcp.MCMC_CODE_OK end
local function far(t,r)return t:route(r,r:command(),r:key(),M.class(r,r:command()))end
local function fill(t,r,ttl)
local rctx,near,key,b=t.rctx,t.near,r:key(),r:has_flag("b")and" b"or""
local res=far(t,M.request("mg ".. key .. b .." v f t c"))
if not res:ok()or not res:hit()then return M.miss(t,r)end
local item=M.item(res)
local back=M.give_back(res,key,b)
if back then far(t,back)end
if not item then return far(t,r)end
local left=tonumber(item.ttl)
rctx:enqueue_and_wait(M.place_item(key,b,item," ME",(left<0 or left>ttl)and ttl or left),near.put)
t:queue(r,near.again)
local now=far(t,M.ask_id(key,b))
t:wait()
local again=rctx:result(near.again)
if M.id_of(now)~=item.id then
rctx:enqueue_and_wait(M.remove_id(key,b,item.id),near.drop)
elseif value_in(again)then
return again
end
return far(t,r)
end
local function change(t,r,usual)
local gone=M.remove_key(r:key(),r:has_flag("b")and" b"or"")
t:queue(gone,t.near.drop)
local res=t:forward(r,usual)
t:queue(gone,t.near.last)
t:wait()
return res
end
function M.failover(near,ttl)
return{
open=function(fgen)
local t={}
for _,use in ipairs({"cmd","put","again","drop","last"})do t[use]=fgen:new_handle(near)end
return t
end,
answer=function(t,r,usual)
local cmd=r:command()
local res=near_can(r,cmd)and t.rctx:enqueue_and_wait(r,t.near.cmd)
if res and value_in(res)then return res end
t.client=r
if M.class(r,cmd)~=M.READ then return change(t,r,usual)end
t:begin()
if res and res:code()==mcp.MCMC_CODE_END then return fill(t,r,ttl)end
return far(t,r)
end,
}
end
end
do
local state=memcached_proxy
local BALLAST<const> =512*1024
local function settings()
mcp.backend_connect_timeout(M.TIMEOUT)
mcp.backend_read_timeout(M.TIMEOUT)
mcp.backend_retry_waittime(1)
mcp.backend_failure_limit(1)
mcp.tcp_keepalive(true)
mcp.luagc_ratio(1.3)
end
local function pool(server,find)
local _,port=M.address(server)
return mcp.pool({mcp.backend({label=server,host=find(server),port=port})})
end
local function pools(conf)
settings()
local find,made,near=M.finder(),{},nil
for _,servers in ipairs(conf.replicas)do
for _,server in ipairs(servers)do made[#made+1]=pool(server,find)end
end
for _,server in ipairs(conf.gutter or{})do made[#made+1]=pool(server,find)end
if conf.local_cache and conf.local_cache.server~="internal"then near=pool(conf.local_cache.server,find)end
return{conf=conf,pools=made,near=near}
end
function mcp_config_pools()return M.load(mcp.start_arg,pools)end
function mcp_config_routes(made)
M.count(made)
local conf=made.conf
local commands=conf.consistency=="fastest"and M.fastest or M.coherent
local near=conf.mode=="failover"and M.failover(made.near or mcp.internal_handler,conf.local_cache.ttl)
local view=M.view(conf)
state.ballast=state.ballast or string.rep(" ",BALLAST)
local reads=M.copies(made.pools,commands,conf.mode .." reads",view,near,true)
mcp.attach(mcp.CMD_ANY_STORAGE,M.copies(made.pools,commands,conf.mode,view,near,false))
for _,cmd in ipairs({mcp.CMD_GET,mcp.CMD_GETS,mcp.CMD_ME,mcp.CMD_MG})do mcp.attach(cmd,reads)end
end
end
