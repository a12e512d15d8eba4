---@meta imscript
-- Written by `imscript doc --write .`; changes belong into src/policy/lua/host.

---What the main file of a policy or plugin returns. A stage that is left out has no opinion.
---@class Policy
---@field setup? fun(conf?: any) Called once in each VM, before any stage.
---@field teardown? fun(reason: string) Called on each worker when another generation takes its place, and when the node stops.
---@field receive? fun(req: Request, ctx: Context): Verdict? A request has come in; nothing is known of it yet.
---@field register? fun(req: Request, ctx: Context): Verdict? A REGISTER before authentication.
---@field verify? fun(req: Request, ctx: Context): Verdict? Which check of the subscription, when.
---@field authorized? fun(req: Request, ctx: Context): Verdict? The terminal is authentic, nothing is stored yet.
---@field broadcast? fun(req: Request, portion: Portion, ctx: Context): Verdict? What of the REGISTER goes where.
---@field failure? fun(req: Request, failure: Failure, ctx: Context): Verdict? A broadcast server did not take what it was sent.
---@field status? fun(event: Event, ctx: Context): Verdict? A registration has changed.
---@field route? fun(req: Request, ctx: Context): Verdict? A request that is no REGISTER.
---@field reply? fun(resp: Response, ctx: Context): Verdict? A response is about to be sent.
---@field finish? fun(outcome: Outcome, ctx: Context) A request has been answered.

---`req`: the request at hand.
---@class Request
---@field method string `REGISTER` and so on.
---@field uri string The Request-URI.
---@field impi? string The private identity, where it is known.
---@field impu? string The public identity, where it is known.
---@field kind "initial"|"refresh"|"deregister"|"other" What a REGISTER asks for; `other` for all else.
---@field expires? integer Seconds that the first contact, or else the Expires field, asks for.
---@field source? string Where it came from: `192.0.2.1:5060`.
---@field transport "udp"|"tcp"|"tls" How it came.
local Request = {}

---Reads a header field. Errors: The stage has returned.
---@param name string In any case, long or compact.
---@return string? # The first field of that name, unfolded; nil if there is none.
function Request:header(name) end

---Replaces the fields of that name by one. Only in `receive` and `reply`. Errors: The stage has returned.
---@param name string In any case, long or compact.
---@param value string One line, up to 128 octets.
function Request:set_header(name, value) end

---Adds a field. Only in `receive` and `reply`. Errors: The stage has returned.
---@param name string In any case, long or compact.
---@param value string One line, up to 128 octets.
function Request:add_header(name, value) end

---Takes all fields of that name away. Only in `receive` and `reply`. Errors: The stage has returned.
---@param name string In any case, long or compact.
function Request:remove_header(name) end

---`ctx`: what is around the request or event.
---@class Context
---@field servers ServerList The configured broadcast servers.
---@field impi? string The private identity, where it is known.
---@field impu? string The public identity, where it is known.
---@field kind "initial"|"refresh"|"deregister"|"other" As in the request.
---@field source? string As in the request.
---@field transport "udp"|"tcp"|"tls" As in the request.
---@field visited_network? string P-Visited-Network-ID.
---@field all_or_nothing boolean The terminal sent `Require: bcast-ext`.
---@field hss_away boolean No HSS is connected, or it did not answer when it was last asked.
---@field portion? Portion The broadcast portion, where there is one.
---@field now integer Seconds since 1970.
---@field generation integer Number of the generation that decides.

---`portion`: the broadcast portion of a REGISTER.
---@class Portion
---@field naf_id? string Domain name of the NAF.
---@field ua_id string Ua security protocol identifier, ten hex digits.
---@field profile? string Of the broadcast terminal.
---@field payload? string The provisioning body.
---@field payload_type? string Its type.

---`failure`: a broadcast server did not take what it was sent.
---@class Failure
---@field server? string Name of the server that was tried.
---@field cause string What happened.
---@field status? integer Of its answer; nil if it gave none.
---@field attempt integer 1 for the first server tried.

---`event`: a registration has changed.
---@class Event
---@field system "ims"|"broadcast" Where.
---@field state "not_registered"|"pending"|"registered"|"failed" What it is now.
---@field previous "not_registered"|"pending"|"registered"|"failed" What it was.
---@field cause string `registered`, `refreshed`, `unregistered`, `expired`, `failed`, `deactivated`, or a reason.
---@field impi? string The private identity, where it is known.
---@field impu? string The public identity, where it is known.
---@field btid? string B-TID of the bootstrapping.
---@field naf_id? string Domain name of the NAF.
---@field servers string[] Names of the broadcast servers concerned.
---@field expires integer Seconds that are left.

---`resp`: a response before it is sent.
---@class Response
---@field status? integer 200 and so on.
---@field reason string The reason phrase.
local Response = {}

---Reads a header field. Errors: The stage has returned.
---@param name string In any case, long or compact.
---@return string? # The first field of that name, unfolded; nil if there is none.
function Response:header(name) end

---Replaces the fields of that name by one. Only in `receive` and `reply`. Errors: The stage has returned.
---@param name string In any case, long or compact.
---@param value string One line, up to 128 octets.
function Response:set_header(name, value) end

---Adds a field. Only in `receive` and `reply`. Errors: The stage has returned.
---@param name string In any case, long or compact.
---@param value string One line, up to 128 octets.
function Response:add_header(name, value) end

---Takes all fields of that name away. Only in `receive` and `reply`. Errors: The stage has returned.
---@param name string In any case, long or compact.
function Response:remove_header(name) end

---`outcome`: how a request ended.
---@class Outcome
---@field method string Of the request.
---@field status? integer Of the final answer.
---@field broadcast? "not_registered"|"pending"|"registered"|"failed" State of the broadcast registration, where there is one.
---@field server? string Name of the broadcast server concerned.
---@field micros integer Microseconds from the request to its answer.

---The configured broadcast servers: a list with two look-ups.
---@class ServerList
---@field [integer] Server
local ServerList = {}

---Finds the server of a NAF.
---@param naf_id? string Domain name of a NAF.
---@return Server? # Who is responsible for it.
function ServerList:by_naf(naf_id) end

---Finds a server by its name.
---@param name? string A name in the configuration.
---@return Server? # The server.
function ServerList:by_name(name) end

---A configured broadcast server.
---@class Server
---@field name string Its name in the configuration.
---@field naf_ids string[] The NAFs that it is responsible for.

---What a stage returns; made by a function of `ims`, and may be kept and returned many times.
---@class Verdict

---How a terminal is challenged.
---@class ChallengeOptions
---@field algorithms? ("AKAv1-MD5"|"AKAv2-MD5"|"AKAv2-SHA-256"|"MD5"|"SHA-256")[] Best first; the node's own, if left out.

---Which check of the subscription, and when.
---@class VerifyOptions
---@field subscription? "always"|"cached"|"new_services"|"never" `always` if left out; `new_services` asks only for services that were not asked for before; with `never` the profile of the last assignment counts.
---@field at? "before_challenge"|"after_authentication" `after_authentication` if left out.
---@field max_age? integer Seconds that a `cached` result is good for, 300 if left out.

---How a registration is accepted.
---@class AcceptOptions
---@field expires? integer Longest time granted, seconds.

---What goes to a broadcast server, and when.
---@class ForwardOptions
---@field to string Name of a configured broadcast server.
---@field parts? ("key"|"payload"|"identity")[] Key and payload, if left out; the identity always goes along.
---@field key? "push"|"pull"|"pull_sip"|"pull_zn"|"on_use" `push`: in the request; `pull`: the server asks at once, as it is set up to, or in SIP or over Zn; `on_use`: when the terminal comes to it.
---@field when? "before_200"|"after_200"|"by_terminal" `before_200` if left out; with `by_terminal` nothing is forwarded.
---@field on_failure? "pending"|"reject" `pending` if left out: tried again while the key lives; `reject` undoes both registrations.

---Where something goes.
---@class DestinationOptions
---@field to string Name of a configured broadcast server.

---What else a refusal says.
---@class RejectOptions
---@field retry_after? integer Seconds, for Retry-After.

---Who is told, and how.
---@class NotifyOptions
---@field to string|string[] Names of broadcast servers, or `"ims"`.
---@field by "third_party_register"|"message" The IMS is told by `message`.
---@field after? integer Seconds that it is held back; a later change of the same user and system takes its place.

---An answer of the policy's own.
---@class AnswerOptions
---@field status? integer 200 to 699 except 401 and 407; 200 if left out.
---@field reason? string The reason phrase.
---@field headers? table<any, string> Header fields.
---@field body? string At most 16 KiB.
---@field content_type? string Of the body, `text/plain` if left out.

---A moment in one zone.
---@class Date
---@field year integer Four digits.
---@field month integer 1 to 12.
---@field day integer 1 to 31.
---@field hour integer 0 to 23.
---@field minute integer 0 to 59.
---@field second integer 0 to 59.
---@field weekday integer 1 is Monday, 7 Sunday.
---@field minutes integer Since midnight: to be compared with what `time.minutes` gives.

---A compiled regular expression.
---@class Pattern
local Pattern = {}

---Finds the first match with its groups.
---@param text string At most 8 KiB; with a large pattern 1 KiB or 256 octets.
---@return table<any, string>? # `[0]` is the match, `[1]` and on are the groups, named ones also by name; nil if there is no match.
function Pattern:match(text) end

---Whether the text has a match.
---@param text string At most 8 KiB; with a large pattern 1 KiB or 256 octets.
---@return boolean # Whether there is a match.
function Pattern:test(text) end

---Finds where the first match is.
---@param text string At most 8 KiB; with a large pattern 1 KiB or 256 octets.
---@param from? integer Where to begin, 1 if left out.
---@return integer[]? # First and last place in octets; nil if there is no match.
function Pattern:find(text, from) end

---Replaces matches.
---@param text string At most 8 KiB; with a large pattern 1 KiB or 256 octets.
---@param by string `$1` and `${name}` stand for groups, `$$` for a dollar.
---@param limit? integer Most replacements; all, if left out.
---@return string # The text with the matches replaced.
function Pattern:replace(text, by, limit) end

---Goes up only.
---@class Counter
local Counter = {}

---Counts.
---@param by? integer From 0; 1 if left out.
function Counter:add(by) end

---Goes up and down.
---@class Gauge
local Gauge = {}

---Sets it.
---@param value number The new value.
function Gauge:set(value) end

---Changes it.
---@param by number May be negative.
function Gauge:add(by) end

---Counts values by size.
---@class Histogram
local Histogram = {}

---Counts one.
---@param value number What was measured.
function Histogram:observe(value) end

---How a histogram counts.
---@class HistogramOptions
---@field buckets? number[] Up to 32 upper bounds, rising; 100 µs to 10 s if left out.
---@field labels? table<any, any> Up to 4, always the same names. A metric has 100 series; what is over it reads `other`.

---How long a shared value lives.
---@class SharedOptions
---@field ttl? number Seconds that it lives; without it, as long as the node.

---A timer that has been set.
---@class Timer
local Timer = {}

---Ends the timer; again does nothing.
function Timer:cancel() end

---What goes along with a request.
---@class HttpOptions
---@field method? string For `http.request`: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.
---@field headers? table<any, string> Header fields; not Host, Content-Length and others that frame the message.
---@field body? string At most 64 KiB.
---@field timeout? number Seconds for all of it, 2 if left out, at most 10.

---An answer, whatever its status. Redirects are not followed.
---@class HttpAnswer
---@field status integer 200 and so on.
---@field headers table<any, string> By name in lower case; fields of one name are joined with a comma.
---@field body string At most 256 KiB.

---A subscriber as the HSS sees it.
---@class Subscriber
---@field impi string The private identity.
---@field impus string[] The public identities, the default one first.
---@field services "all"|"none"|string[] What may be received by broadcast.
---@field ims "not_registered"|"pending"|"registered"|"failed" State of the registration with the IMS.
---@field ims_since? integer When that last changed, in seconds since 1970.
---@field broadcast? BroadcastRegistration The registration with a broadcast server; nil if there never was one.

---A registration with a broadcast server.
---@class BroadcastRegistration
---@field state "not_registered"|"pending"|"registered"|"failed" What it is.
---@field server string The server's name.
---@field naf_id string The NAF's domain name.
---@field since integer Since when, in seconds since 1970.

---The verdicts. A stage that returns nil has no opinion.
---@class imslib
ims = {}

---`receive`, `route`: goes on.
---@return Verdict # The verdict.
function ims.next() end

---`receive`: nothing is answered.
---@return Verdict # The verdict.
function ims.drop() end

---`receive`, `register`, `authorized`, `route`: refuses. `broadcast`: the portion alone is refused, with the reason as its cause, unless the terminal asked for all or nothing. Errors: An unknown key or word.
---@param status integer 400 to 699 except 401 and 407.
---@param reason? string Up to 128 octets in one line.
---@param options? RejectOptions What else it says.
---@return Verdict # The verdict.
function ims.reject(status, reason, options) end

---`register`: challenges the terminal. Errors: An unknown key or word.
---@param options? ChallengeOptions How.
---@return Verdict # The verdict.
function ims.challenge(options) end

---`register`: registers the terminal without a challenge, as whom it says it is. Only for an access network that lets nobody else's requests through: see [policy.md](policy.md#register). Errors: A plugin without `trust = true` under `[capabilities]` calls it.
---@return Verdict # The verdict.
function ims.trust() end

---`verify`: checks the subscription. Errors: An unknown key or word.
---@param options? VerifyOptions Which, and when.
---@return Verdict # The verdict.
function ims.verify(options) end

---`authorized`: registers the terminal. Errors: An unknown key or word.
---@param options? AcceptOptions How.
---@return Verdict # The verdict.
function ims.accept(options) end

---`broadcast`: to a broadcast server. Errors: An unknown key or word.
---@param options ForwardOptions What, where and when.
---@return Verdict # The verdict.
function ims.forward(options) end

---`broadcast`: the IMS alone. Errors: An unknown key or word.
---@param reason? string Stands in the answer as the cause.
---@return Verdict # The verdict.
function ims.skip(reason) end

---`failure`: tries another broadcast server. Errors: An unknown key or word.
---@param options DestinationOptions Where.
---@return Verdict # The verdict.
function ims.retry(options) end

---`failure`: tries no other.
---@return Verdict # The verdict.
function ims.give_up() end

---`status`: tells others of the change. Errors: An unknown key or word.
---@param options NotifyOptions Who and how.
---@return Verdict # The verdict.
function ims.notify(options) end

---`status`: nobody is told.
---@return Verdict # The verdict.
function ims.silent() end

---`route`: to a broadcast server. Errors: An unknown key or word.
---@param options DestinationOptions Where.
---@return Verdict # The verdict.
function ims.route(options) end

---`route`: answers. Errors: An unknown key or word.
---@param options? AnswerOptions What.
---@return Verdict # The verdict.
function ims.answer(options) end

---Lines in the node's log. Each names the plugin, the generation, the file and the line. At most 20 a second and worker are written, and the next says how many were not.
---@class loglib
log = {}

---For the author; the node writes it only if asked to.
---@param text any What to say; cut after 400 octets, control characters become blanks.
---@param fields? table<any, any> Up to 16, written behind the text as `key=value`.
function log.debug(text, fields) end

---What happened.
---@param text any What to say; cut after 400 octets, control characters become blanks.
---@param fields? table<any, any> Up to 16, written behind the text as `key=value`.
function log.info(text, fields) end

---What should not have happened.
---@param text any What to say; cut after 400 octets, control characters become blanks.
---@param fields? table<any, any> Up to 16, written behind the text as `key=value`.
function log.warn(text, fields) end

---What somebody has to do something about.
---@param text any What to say; cut after 400 octets, control characters become blanks.
---@param fields? table<any, any> Up to 16, written behind the text as `key=value`.
function log.error(text, fields) end

---The plugin itself, or the operator's policy.
---@class pluginlib
---@field name string `policy` for the operator's policy.
---@field version string As in the manifest.
---@field conf? any The settings: the manifest's defaults with the operator's values over them; read-only.
plugin = {}

---The node's clocks. Tests set them.
---@class timelib
time = {}

---The time of day.
---@return number # Seconds since 1970, with a fraction.
function time.now() end

---A clock that never steps: for intervals.
---@return number # Seconds since the node's start, with a fraction.
function time.monotonic() end

---A time as a date. Errors: A time before 1970 or after the year 9999.
---@param unix? number Seconds since 1970; now, if left out.
---@param zone? integer Minutes east of UTC, 0 if left out; from -1440 to 1440.
---@return Date # Year, month, day and so on.
function time.date(unix, zone) end

---Reads a time of day.
---@param clock string `"HH:MM"`, from 00:00 to 23:59.
---@return integer? # Minutes since midnight; nil if it is no time of day.
function time.minutes(clock) end

---Chance. Tests set its seed.
---@class randomlib
random = {}

---A number; not for secrets.
---@return number # From 0, below 1.
function random.number() end

---A whole number; not for secrets. Errors: `to` is less than `from`, or too far from it.
---@param from integer The least.
---@param to integer The greatest, at most 2^53 apart.
---@return integer # From `from` to `to`, both included.
function random.integer(from, to) end

---Octets of the operating system's generator, fit for nonces and keys.
---@param count integer 0 to 1024.
---@return string # So many octets.
function random.bytes(count) end

---Regular expressions of Rust's crate `regex`: the time of a match grows with the text and never explodes; there are no look-around and no back-references. Texts are octets, and classes such as `\w` ASCII unless the pattern begins with `(?u)`.
---@class relib
re = {}

---Compiles a pattern. Do it at the top of the file. Errors: A pattern that is none, or is too large; more than 64 patterns.
---@param pattern string At most 1 KiB; `(?i)` at its beginning ignores case.
---@return Pattern # The same pattern is compiled once.
function re.compile(pattern) end

---JSON text (RFC 8259), at most 64 KiB and 16 levels deep.
---@class jsonlib
json = {}

---Writes a value as JSON. Errors: A function, a number that is not finite, text that is not UTF-8, a table that holds itself.
---@param value any A table with the keys 1 to n is an array, any other an object; an empty one is `{}`.
---@return string # The text, keys in order.
function json.encode(value) end

---Reads JSON. Errors: Text that is no JSON.
---@param text string JSON.
---@return any? # The value; `null` is nil.
function json.decode(text) end

---Base64 (RFC 4648).
---@class base64lib
base64 = {}

---Writes octets as Base64.
---@param octets string At most 64 KiB.
---@return string # With padding.
function base64.encode(octets) end

---Writes octets as Base64 for URLs.
---@param octets string At most 64 KiB.
---@return string # For URLs and file names, without padding.
function base64.encode_url(octets) end

---Reads Base64.
---@param text string Of either alphabet; the padding may be left out in that for URLs.
---@return string? # The octets; nil if it is no Base64.
function base64.decode(text) end

---Two digits an octet.
---@class hexlib
hex = {}

---Writes octets as digits.
---@param octets string At most 64 KiB.
---@return string # In lower case.
function hex.encode(octets) end

---Reads digits.
---@param text string In either case, without blanks.
---@return string? # The octets; nil if it is no such text.
function hex.decode(text) end

---Digests (FIPS 180-4).
---@class hashlib
hash = {}

---SHA-256.
---@param octets string At most 64 KiB.
---@return string # 32 octets; see `hex.encode`.
function hash.sha256(octets) end

---Signatures with a shared secret (RFC 2104).
---@class hmaclib
hmac = {}

---HMAC-SHA-256.
---@param key string The secret.
---@param octets string At most 64 KiB.
---@return string # 32 octets; see `hex.encode`.
function hmac.sha256(key, octets) end

---Compares without telling by its time where they differ.
---@param a string One signature.
---@param b string The other.
---@return boolean # Whether they are the same.
function hmac.equal(a, b) end

---Metrics among those of the node, with the plugin's name in front. Ask for one at the top of the file and keep it: counting is then one step.
---@class metriclib
metric = {}

---A number that goes up only; its name ends in `_total`. Errors: A name that is none; other labels or another kind than before; more than 32 metrics.
---@param name string Letters, digits and _; `hits` of plugin `verify-cache` becomes `verify_cache_hits`.
---@param labels? table<any, any> Up to 4, always the same names. A metric has 100 series; what is over it reads `other`.
---@return Counter # With `:add(n)`.
function metric.counter(name, labels) end

---A number that goes up and down. Errors: As `metric.counter`.
---@param name string Letters, digits and _; `hits` of plugin `verify-cache` becomes `verify_cache_hits`.
---@param labels? table<any, any> Up to 4, always the same names. A metric has 100 series; what is over it reads `other`.
---@return Gauge # With `:set(x)` and `:add(x)`.
function metric.gauge(name, labels) end

---Counts values by size. Errors: As `metric.counter`; bounds that do not rise.
---@param name string Letters, digits and _; `hits` of plugin `verify-cache` becomes `verify_cache_hits`.
---@param options? HistogramOptions Buckets and labels.
---@return Histogram # With `:observe(x)`.
function metric.histogram(name, options) end

---Values in memory, seen by all workers of the node and by nobody but this plugin. They survive a reload, not a restart. A table is kept as a copy of what JSON can say.
---@class sharedlib
shared = {}

---Reads a value.
---@param key string Up to 256 octets.
---@return (string|number|boolean|table)? # The value; nil if there is none or its time is over.
function shared.get(key) end

---Writes a value. Errors: The quota is used up; the key has no or more than 256 octets, the value more than 64 KiB.
---@param key string Up to 256 octets.
---@param value string|number|boolean|table Up to 64 KiB.
---@param options? SharedOptions How long it lives.
function shared.set(key, value, options) end

---Writes a value if there is none: of several that try, one succeeds. Errors: The quota is used up; the key has no or more than 256 octets, the value more than 64 KiB.
---@param key string Up to 256 octets.
---@param value string|number|boolean|table Up to 64 KiB.
---@param options? SharedOptions How long it lives.
---@return boolean # Whether it was written.
function shared.add(key, value, options) end

---Adds to a number in one step; one that is not there is 0. Errors: The value is no number. The quota is used up.
---@param key string Up to 256 octets.
---@param by? number 1 if left out; may be negative.
---@param options? SharedOptions How long a number lives that begins with this call; later calls do not prolong it.
---@return number # The new number.
function shared.incr(key, by, options) end

---Takes a value away.
---@param key string Up to 256 octets.
---@return boolean # Whether there was one.
function shared.delete(key) end

---Lists keys. It looks at all of them: not for the stages of every request.
---@param prefix? string How the keys begin.
---@param limit? integer Most keys, 100 if left out, at most 1000.
---@return string[] # The keys in order.
function shared.keys(prefix, limit) end

---Values on disk, seen by all workers of the node and by nobody but this plugin. Reading and writing go to memory; a change is on disk some milliseconds later, and who has to know when gives a function. A table is kept as a copy of what JSON can say.
---@class storelib
store = {}

---Reads a value.
---@param key string Up to 256 octets.
---@return (string|number|boolean|table)? # The value; nil if there is none.
function store.get(key) end

---Writes a value. Errors: The quota is used up; the key has no or more than 256 octets, the value more than 64 KiB.
---@param key string Up to 256 octets.
---@param value string|number|boolean|table Up to 64 KiB.
---@param written? fun(ok: boolean, why?: string) Called when the change is on disk; only in `setup`, `status`, `finish`, timers and callbacks.
function store.set(key, value, written) end

---Takes a value away.
---@param key string Up to 256 octets.
---@param written? fun(ok: boolean, why?: string) Called when the change is on disk; only in `setup`, `status`, `finish`, timers and callbacks.
function store.delete(key, written) end

---Lists keys.
---@param prefix? string How the keys begin.
---@param limit? integer Most keys, 100 if left out, at most 1000.
---@return string[] # The keys in order.
function store.keys(prefix, limit) end

---Functions that are called later. They end with the generation that set them. Those set in `setup`, which runs on every worker, run on the first worker only; others run on the worker that set them. All timers and callbacks of a VM together get a fifth of its worker's time; what is due beyond that waits.
---@class timerlib
timer = {}

---Calls a function once. Only in `setup`, `status`, `finish`, timers and callbacks. Errors: There are 64 timers already.
---@param seconds number Above 0, at most a year.
---@param run fun() What is called, under the deadline of a stage.
---@return Timer # With `:cancel()`.
function timer.after(seconds, run) end

---Calls a function again and again, the first time after one interval. What the worker comes too late for is left out. Only in `setup`, `status`, `finish`, timers and callbacks. Errors: There are 64 timers already.
---@param seconds number From 0.01, at most a year.
---@param run fun() What is called, under the deadline of a stage.
---@return Timer # With `:cancel()`.
function timer.every(seconds, run) end

---HTTP/1.1 requests to the origins of the manifest: `http = ["https://hooks.example"]`. A request is sent when the function that asks for it has returned without an error; a stage cannot wait for its answer.
---@class httplib
http = {}

---Sends a GET. Only in `setup`, `status`, `finish`, timers and callbacks. Errors: The origin is not granted; 64 requests of the plugin are under way; something is too long.
---@param url string Of an origin that is granted; without user and password.
---@param options? HttpOptions What goes along; may be left out.
---@param callback fun(answer?: HttpAnswer, why?: string) Called later on the same worker, under the deadline of a stage.
---@overload fun(url: string, callback: fun(answer?: HttpAnswer, why?: string))
function http.get(url, options, callback) end

---Sends a POST. Only in `setup`, `status`, `finish`, timers and callbacks. Errors: The origin is not granted; 64 requests of the plugin are under way; something is too long.
---@param url string Of an origin that is granted; without user and password.
---@param options? HttpOptions What goes along; may be left out.
---@param callback fun(answer?: HttpAnswer, why?: string) Called later on the same worker, under the deadline of a stage.
---@overload fun(url: string, callback: fun(answer?: HttpAnswer, why?: string))
function http.post(url, options, callback) end

---Sends a request of any method (`options.method`, GET if left out). Only in `setup`, `status`, `finish`, timers and callbacks. Errors: The origin is not granted; 64 requests of the plugin are under way; something is too long.
---@param url string Of an origin that is granted; without user and password.
---@param options? HttpOptions What goes along; may be left out.
---@param callback fun(answer?: HttpAnswer, why?: string) Called later on the same worker, under the deadline of a stage.
---@overload fun(url: string, callback: fun(answer?: HttpAnswer, why?: string))
function http.request(url, options, callback) end

---Questions to the HSS.
---@class hsslib
hss = {}

---Asks for a subscriber. Only in `setup`, `status`, `finish`, timers and callbacks. Errors: 64 answers are waited for already.
---@param identity string An IMPI or an IMPU.
---@param callback fun(subscriber?: Subscriber, why?: string) Called later on the same worker.
function hss.lookup(identity, callback) end

---Another file of the same plugin, by its name without `.lua`; run once in each VM.
---@param name string
---@return any
function require(name) end

---Declares a test; in `*_test.lua` only. docs/testing.md has what `t` can do.
---@param name string
---@param run fun(t: any)
function test(name, run) end

---@param s string
---@param separator? string
---@return string[]
function string.split(s, separator) end

---@generic T
---@param t T
---@return T
function table.freeze(t) end

---@generic T
---@param t T
---@return T
function table.clone(t) end

---@param t table
---@param value any
---@param from? integer
---@return integer?
function table.find(t, value, from) end

---@param count integer
---@param value? any
---@return table
function table.create(count, value) end

---@param x number
---@param least number
---@param most number
---@return number
function math.clamp(x, least, most) end

---@param x number
---@return integer
function math.round(x) end
