//! Every bound of the resolver: its unit, its reason, and the counter that shows it was hit.
//!
//! A bound lives here and nowhere else, so that "how large can it grow?" has one place to look (I7). The label that
//! `lachan_limit_hits_total{limit}` carries is the constant's name in lower case.

use std::time::Duration;

/// Longest name on the wire, in octets, the root label included. RFC 1035 §2.3.4.
pub const NAME_OCTETS_MAX: usize = 255;
/// Longest label, in octets. RFC 1035 §2.3.4.
pub const LABEL_OCTETS_MAX: usize = 63;
/// Most labels a name of 255 octets can have, the root label not counted: (255 - 1) / 2.
pub const LABELS_MAX: usize = 127;

/// UDP payload we advertise and never exceed, in octets. DNS flag day 2020; RFC 9715 §3.
pub const UDP_PAYLOAD_MAX: u16 = 1232;
/// UDP payload of a client that sent no OPT, and the floor for one that did. RFC 6891 §6.2.3.
pub const UDP_PAYLOAD_MIN: u16 = 512;
/// Octets of EXTRA-TEXT in an extended error: keeps an answer small when it need not be. Chosen, not derived.
pub const EDE_TEXT_OCTETS_MAX: usize = 64;

/// Lists in one index: a set of lists is a bit set of this width. Chosen; the largest installation we know has 300.
pub const LISTS_MAX: usize = 1024;
/// Layers of one index: our own lists, the names of orders, lists that are read here, and one for each compiled file. Each
/// costs every look-up a few nanoseconds. Chosen: whoever has more files compiles them into one.
pub const LAYERS_MAX: usize = 9;
/// What a compiled file tells of its lists, in octets: a thousand of them with their skipped lines take a tenth.
pub const COMPILED_LISTS_OCTETS_MAX: usize = 64 << 20;
/// Size of one compiled file, in octets: an index numbers its own with 32 bits, and the rest is small.
pub const COMPILED_FILE_OCTETS_MAX: u64 = 5 << 30;
/// Temporary allows and denies at once, and as many pauses; a further one is refused. Chosen: a person makes some dozen a day.
pub const OVERLAY_ENTRIES_MAX: usize = 10_000;
/// How long a temporary word may last. Chosen: what is to last longer belongs into the configuration.
pub const OVERLAY_TIME_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Octets of what a person gives as a reason, a name or a reference. Chosen: a long sentence.
pub const PERSON_TEXT_OCTETS_MAX: usize = 500;
/// Legal orders at once; a further one is refused. Chosen: ten a day for three years.
pub const ORDERS_MAX: usize = 10_000;
/// Names of one order; the longest annex that we know of has some thousand.
pub const ORDER_NAMES_MAX: usize = 50_000;
/// Names of all orders: their texts are held in memory beside the index.
pub const ORDERS_NAMES_MAX: usize = 500_000;
/// Size of one order's file, in octets: fifty thousand names of 60 octets.
pub const ORDER_FILE_OCTETS_MAX: u64 = 4 << 20;
/// Size of an annex to an order, a sheet or a CSV file, in octets.
pub const ANNEX_OCTETS_MAX: u64 = 16 << 20;
/// What a sheet's packed parts may come to, in octets: real ones grow tenfold.
pub const ANNEX_UNPACKED_OCTETS_MAX: u64 = 128 << 20;
/// Rows of an annex that are looked at; a longer one is refused.
pub const ANNEX_ROWS_MAX: usize = 100_000;
/// Octets of one file of the audit log; then the next one begins.
pub const AUDIT_FILE_OCTETS_MAX: u64 = 16 << 20;
/// Files of the audit log; then the oldest one goes. Together 1.6 GB: at a thousand changes a day, some years.
pub const AUDIT_FILES_MAX: usize = 100;
/// Octets of one line of the audit log that is read; an order with all its names is told by its sum.
pub const AUDIT_LINE_OCTETS_MAX: usize = 64 << 10;
/// Commands that wait for the store of a fleet; the oldest are left out, and put back from what is in force when it is there.
pub const FLEET_COMMANDS_WAITING_MAX: usize = 10_000;
/// Size of what a node keeps of the fleet, in octets: two decisions about each of a thousand lists fit four times.
pub const FLEET_FILE_OCTETS_MAX: u64 = 16 << 20;
/// Profiles in one snapshot: their numbers are 16 bits wide.
pub const PROFILES_MAX: usize = 1 << 16;
/// Windows of a profile: what is open is a set in 16 bits.
pub const WINDOWS_MAX: usize = 16;
/// Days that a calendar may name, repeated ones counted each. Chosen: fifty years of a school's.
pub const CALENDAR_DAYS_MAX: usize = 20_000;
/// Octets of a calendar file. Chosen: a thousand times what a school's year takes.
pub const CALENDAR_FILE_OCTETS_MAX: u64 = 4 << 20;
/// Length of one line of a list, in octets; the longest real one found in 11.5 million is 11,782.
pub const LIST_LINE_OCTETS_MAX: usize = 64 * 1024;
/// Size of one list file, in octets; ten million names of 22 octets are 220 MB.
pub const LIST_FILE_OCTETS_MAX: u64 = 1 << 30;
/// Files of one list that is a directory or a pattern. Chosen.
pub const LIST_PARTS_MAX: usize = 1_000;
/// Lists being fetched at once: each may take [`LIST_FILE_OCTETS_MAX`] of memory and as much again when it is unpacked.
pub const LIST_FETCHES_MAX: usize = 2;
/// Redirects that a fetch follows; real ones need two or three. Chosen.
pub const LIST_REDIRECTS_MAX: usize = 5;
/// Size of a detached signature, in octets; a real one is 300.
pub const LIST_SIGNATURE_OCTETS_MAX: u64 = 16 * 1024;
/// Whole time of a fetch: 220 MB in it need 3 Mbit/s.
pub const LIST_FETCH: Duration = Duration::from_secs(600);
/// A fetch without an octet for so long has failed. Chosen.
pub const LIST_FETCH_IDLE: Duration = Duration::from_secs(30);
/// A connection to a list's host that is not made in this time is a failure. Chosen.
pub const LIST_FETCH_CONNECT: Duration = Duration::from_secs(10);
/// Lines that hold something which `format = "auto"` looks at. Chosen: past any preamble of local names.
pub const LIST_SNIFF_LINES_MAX: usize = 100;
/// A list is refused when more than this share of its lines cannot be read, in percent. Chosen, not derived.
pub const LIST_BAD_PERCENT_MAX: u64 = 50;
/// Fewer unreadable lines than this do not refuse a list that made at least one rule. Chosen, not derived.
pub const LIST_BAD_LINES_MIN: u32 = 10;
/// Shortest IPv4 prefix a list may name, in bits: no list blocks a /7, and 0.0.0.0/1 is everything by halves.
pub const ADDRESS_V4_BITS_MIN: u8 = 8;
/// Shortest IPv6 prefix a list may name, in bits: 2000::/3 is everything; registries get a /12 to /23.
pub const ADDRESS_V6_BITS_MIN: u8 = 16;
/// Patterns (regular expressions, pieces of names) of one list: each costs memory, and time for every question. Chosen.
pub const LIST_PATTERNS_MAX: usize = 20_000;
/// Rules with conditions or answers of their own that one list may have about one name, network or pattern: all of them are
/// looked at for every question that it covers. Chosen: real lists have a dozen.
pub const LIST_OWNER_RULES_MAX: usize = 256;
/// Records that one rule answers with: more would not fit an answer. Chosen.
pub const LIST_OWNER_RECORDS_MAX: usize = 100;
/// Patterns of all lists: their automaton numbers its states in 31 bits, and a name has 255 octets.
pub const PATTERNS_MAX: usize = 500_000;
/// Memory of one regular expression's automaton, in octets. Chosen: a hundred times what real lists have.
pub const PATTERN_OCTETS_MAX: usize = 64 << 10;
/// Skipped lines kept with their text for the operator, for each list.
pub const LIST_SKIPPED_SHOWN_MAX: usize = 10;
/// Names taken of a ranked file of popular names; the longest that are published hold a million, and that is 50 MB.
pub const POPULAR_NAMES_MAX: usize = 2_000_000;
/// Size of a ranked file, in octets: two million names of 30 octets with their ranks.
pub const POPULAR_FILE_OCTETS_MAX: u64 = 128 << 20;
/// Names shown with a reason why a list is held; the count tells of the others. Chosen.
pub const GATE_NAMES_SHOWN_MAX: usize = 20;
/// Rules shown of each side of a list's difference. Chosen: a screenful.
pub const LIST_DIFF_SHOWN_MAX: usize = 10;
/// Names counted a day to know what people ask for; about a hundred octets each. Chosen: what most of a country asks for.
pub const LEARNED_NAMES_MAX: usize = 100_000;
/// Labels of a counted name; rules deeper than that are rare. Chosen.
pub const LEARNED_DEPTH_MAX: usize = 6;
/// Questions that wait to be counted; what comes while they do is not counted. A sample need not be whole.
pub const LEARNED_QUEUE_MAX: usize = 1_024;
/// Fewer sampled questions than this say nothing about a share of them. Chosen: one percent is ten of them.
pub const LEARNED_QUESTIONS_MIN: u64 = 1_000;
/// The relative gates ask for so many rules in force: of a short list, thirty percent is a handful. Chosen.
pub const GATE_RULES_MIN: usize = 1_000;
/// Size of one configuration file, in octets. Chosen.
pub const CONFIG_FILE_OCTETS_MAX: u64 = 4 << 20;

/// Records one message may carry: more than fits 64 KiB with the smallest record (11 octets) cannot be real.
pub const RECORDS_MAX: usize = 5_957;
/// Names of one answer's CNAME/DNAME/SVCB chain that policy walks; a longer chain is SERVFAIL. BIND follows 16.
pub const CHAIN_MAX: usize = 64;

/// Whole time a client's question may take, upstream tries included: stubs give up at 5 s.
pub const QUERY_DEADLINE: Duration = Duration::from_millis(4_500);
/// After this long without an answer a stale one is used. RFC 8767 §5: 1.8 s.
pub const STALE_CLIENT_TIMER: Duration = Duration::from_millis(1_800);
/// TTL of a stale answer, in seconds. RFC 8767 §4.
pub const STALE_TTL_SECS: u32 = 30;
/// How long a SafeSearch target may take to resolve before the table's own addresses are used.
pub const SAFE_SEARCH_TARGET_TIMER: Duration = Duration::from_millis(500);
/// TTL of a SafeSearch answer made from the table's own addresses, in seconds.
pub const SAFE_SEARCH_STATIC_TTL_SECS: u32 = 30;
/// Shortest and longest time a resolution failure is remembered, in seconds. RFC 9520 §3.2 allows 1 s to 5 min.
pub const FAILURE_TTL_SECS_MIN: u32 = 1;
/// See [`FAILURE_TTL_SECS_MIN`].
pub const FAILURE_TTL_SECS_MAX: u32 = 30;
/// Longest time an answer without signatures is kept, and told of, when they were asked for and the server knew no EDNS, in seconds.
/// Chosen: a validator behind us takes it for forged, and the next server may do better.
pub const UNPROVEN_SECS_MAX: u32 = 5;
/// Longest time a negative answer is kept, in seconds. RFC 2308 §5 suggests 1 to 3 hours.
pub const NEGATIVE_TTL_SECS_MAX: u32 = 3 * 3600;
/// Longest time a positive answer is kept, in seconds: BIND's and Unbound's habit of a day.
pub const POSITIVE_TTL_SECS_MAX: u32 = 86_400;

/// Different sets of lists that the names and addresses of one cached answer are on, over all answers; an answer beyond
/// that is judged anew each time. Chosen: real lists make some hundred.
pub const RELEVANCES_MAX: usize = 4_096;
/// Octets of an answer that the cache keeps; a larger one is asked for each time. Chosen: such answers came by TCP.
pub const CACHED_ANSWER_OCTETS_MAX: usize = 16 << 10;

/// Questions in flight upstream at once, over all clients; a further one is answered SERVFAIL and counted.
pub const QUERIES_IN_FLIGHT_MAX: usize = 20_000;
/// Servers one question is sent to, at most: more would make us an amplifier of somebody's broken zone. Chosen.
pub const UPSTREAM_TRIES_MAX: usize = 8;
/// A server is sent the same question so often, at most. RFC 9520 §3.1: not retried more than twice.
pub const UPSTREAM_SERVER_TRIES_MAX: usize = 3;
/// Silent questions of a lane whose late answers it still listens for, at most. Chosen.
pub const UPSTREAM_OVERDUE_MAX: usize = 1_024;
/// A server is asked the same question again (a lost datagram) only while fewer than this many were sent for it.
pub const UPSTREAM_RETRIES_MAX: usize = 4;
/// Questions in flight to one server over UDP: of the slow lane, each with a socket of its own, where a further one goes to the next
/// server; and of each fast lane, which drops a further one and counts it.
pub const UPSTREAM_UDP_IN_FLIGHT_MAX: usize = 4_096;
/// Questions that wait for servers which are all in back-off; of further ones nothing is hoped, and they are answered SERVFAIL.
/// Chosen: enough for whoever asks while a line is bad, and little work beside a flood's thousands.
pub const UPSTREAM_LAST_RESORT_MAX: usize = 1_024;
/// Questions that one socket to a server is used for by the fast lane: a port that is gone soon is not found. Chosen.
pub const UPSTREAM_SOCKET_QUESTIONS_MAX: u32 = 256;
/// Seconds that it is used at most. Chosen: finding a port takes longer.
pub const UPSTREAM_SOCKET_SECS_MAX: u64 = 2;
/// Sockets to servers of one lane, those with late answers included; beyond that the slow lane asks.
pub const UPSTREAM_SOCKETS_MAX: usize = 256;
/// Octets of an upstream's UDP reply that are read, which are more than we ask for: some servers do not keep to that. What
/// is longer still is asked for over TCP. As much as EDNS ever had as a common default (RFC 6891 §6.2.5).
pub const UPSTREAM_UDP_REPLY_OCTETS_MAX: usize = 4_096;
/// Questions in flight on one stream connection: hickory-net looks at each of them whenever it is polled.
pub const UPSTREAM_CONNECTION_IN_FLIGHT_MAX: usize = 256;
/// Connections to one server; a further one is opened only when the others are busy.
pub const UPSTREAM_CONNECTIONS_MAX: usize = 4;
/// A connection to a server that is not made in this time is a failure; less than a question's whole time.
pub const UPSTREAM_CONNECT: Duration = Duration::from_millis(3_000);

/// Threads of the fast lane for one address: more than the largest machines have cores.
pub const UDP_WORKERS_MAX: i64 = 256;
/// Octets of a query by UDP; of a longer one the header alone is read, and it is FORMERR. A name, an OPT and every option
/// that is known take a tenth.
pub const UDP_QUERY_OCTETS_MAX: usize = 4_096;
/// Datagrams that wait for the slow lane of one socket; a further one is dropped and counted.
pub const SLOW_QUEUE_MAX: usize = 4_096;
/// What waited for the slow lane so long is dropped when its turn comes: stubs ask again after a second or two.
pub const SLOW_QUEUE_WAIT: Duration = Duration::from_secs(1);
/// UDP datagrams being answered at once on one socket; a further one is dropped and counted.
pub const UDP_IN_FLIGHT_MAX: usize = 10_000;
/// As many of them as are the slow lane's, where each takes a task, a socket and some 10 KiB.
pub const SLOW_IN_FLIGHT_MAX: usize = 4_096;
/// While the slow lane answers more than this, what upstream is late with is not asked again by it. Chosen: of a flood's thousands that
/// no server answers in time it then takes a fortieth of a core.
pub const SECOND_TRIES_MAX: usize = 256;
/// Connections of clients at once, over all listeners of TCP, TLS, HTTPS and QUIC; then the one that was idle longest is
/// closed for the next. RFC 9210 §4.4 asks for a limit. Chosen: 20 KiB each, and phones keep theirs.
pub const TCP_CONNECTIONS_MAX: usize = 20_000;
/// Connections at once from one address; a school's NAT has many phones behind it.
pub const TCP_CONNECTIONS_PER_CLIENT_MAX: usize = 500;
/// Who asked something so short a time ago does not lose the connection to another. Chosen.
pub const CONNECTION_IDLE_MIN: Duration = Duration::from_secs(1);
/// How long a connection is served at most; clients open another. Chosen: a load balancer's changes are followed the same day.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_secs(2 * 3600);
/// Connections at once of sources that we do not serve: enough to tell them REFUSED.
pub const TCP_STRANGERS_MAX: usize = 50;
/// Octets of answers that wait for their TCP peers, over all connections; then the connection that adds more is cut.
pub const TCP_QUEUED_OCTETS_MAX: usize = 64 << 20;
/// Octets of answers that wait for one peer before no more of its questions are read.
pub const TCP_QUEUED_OCTETS_OF_PEER: usize = 64 << 10;
/// A TLS handshake, or the first question of HTTP, that is not done in this time is given up. Chosen: three round trips to
/// anywhere with two lost packets.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// Questions of one TCP connection being answered at once; the next is read when one is done.
pub const TCP_PIPELINE_MAX: usize = 100;
/// A TCP connection without a complete question for this long is closed. RFC 7766 §6.2.3: "a few seconds".
pub const TCP_IDLE: Duration = Duration::from_secs(10);
/// As [`TCP_IDLE`] where a connection cost a handshake of TLS: clients that keep theirs save themselves and us another.
pub const TLS_IDLE: Duration = Duration::from_secs(30);
/// A TCP peer that takes neither [`TCP_WRITE_OCTETS_MIN`] of its answers nor all of them for this long is cut.
pub const TCP_WRITE: Duration = Duration::from_secs(5);
/// Taking an octet now and then is not taking answers. Chosen: less than the slowest modem carries in [`TCP_WRITE`].
pub const TCP_WRITE_OCTETS_MIN: usize = 4_096;
/// Octets of a question by HTTP; as by UDP.
pub const DOH_QUERY_OCTETS_MAX: usize = UDP_QUERY_OCTETS_MAX;
/// Octets of a body that nobody wants which are taken nevertheless: a stream that is reset while they come looks broken to
/// some clients, and they do not tell why it was refused. Chosen.
pub const DOH_DISCARDED_OCTETS_MAX: usize = 256 << 10;
/// Octets of a request's head: a question of [`DOH_QUERY_OCTETS_MAX`] in a URL, and what browsers add.
pub const DOH_HEADER_OCTETS_MAX: usize = 16 << 10;
/// QUIC handshakes under way at once; beyond that a client first shows that its address is its own (RFC 9000 §8.1).
pub const QUIC_HANDSHAKES_UNPROVEN_MAX: usize = 100;
/// Sessions of DoQ that may be taken up with a question in the first flight, each good once; the oldest goes first. Chosen:
/// some 300 octets each, and a handshake more for whoever comes too late.
pub const QUIC_SESSIONS_MAX: usize = 8_192;
/// Size of a file with a certificate or a key, in octets. Chosen: a chain of four takes eight thousand.
pub const CERTIFICATE_FILE_OCTETS_MAX: u64 = 1 << 20;
/// Octets of a PROXY header; two addresses of IPv6 take 52, and values of our own are short. As PowerDNS has it.
pub const PROXY_HEADER_OCTETS_MAX: usize = 512;
/// Octets of an identity that a proxy or a router gives as a text: RADIUS attributes have no more.
pub const IDENTITY_OCTETS_MAX: usize = 253;
/// Addresses of `X-Forwarded-For` that are looked at, from the last on. Chosen: more proxies are a loop.
pub const FORWARDED_ADDRESSES_MAX: usize = 16;
/// Realms that a configuration may name. Chosen: each costs a table of the networks that all have in common.
pub const REALMS_MAX: usize = 256;
/// Questions a second of one identity from addresses that are none of our clients'; beyond that it is nobody's. Chosen: a
/// household abroad.
pub const GUEST_QUESTIONS_PER_SECOND: u32 = 50;
/// Seconds of that rate which may come at once.
pub const GUEST_BURST_SECS: u32 = 4;
/// Identities that have a bucket for it; a full one is forgotten without loss. Chosen: 2 MiB at most.
pub const GUESTS_MAX: usize = 1 << 15;

/// REFUSED answers a second to strangers, over all of them; the rest are dropped, so that we amplify nothing.
pub const STRANGER_ANSWERS_PER_SECOND: u32 = 100;

/// Secrets that cookies are known by: the present one, the next, and some that were. Chosen: each is tried for a bad cookie.
pub const COOKIE_SECRETS_MAX: usize = 8;
/// Seconds of its rate that a bucket of `[rate_limit]` holds; once it ran dry its prefix waits so long until it is full.
pub const RATE_LIMIT_BURST_SECS: u64 = 10;
/// Addresses that have a bucket; a full bucket is forgotten without loss. Chosen: 10 MiB, only with `[rate_limit]`.
pub const RATE_LIMIT_ADDRESSES_MAX: usize = 1 << 16;
/// Networks that have a bucket.
pub const RATE_LIMIT_NETWORKS_MAX: usize = 1 << 14;
/// Lines that one `[client.*]` may say are behind each of its addresses. Chosen: a CGNAT address has some hundred.
pub const RATE_LIMIT_LINES_MAX: i64 = 100_000;
/// Zones that have a bucket of failures; one whose questions do not fail any more is forgotten. Chosen: 200 KiB, only with
/// `[zone_limit]`.
pub const ZONE_LIMIT_ZONES_MAX: usize = 1 << 12;

/// Prefixes and blocks of ports in the table of subscribers: four for each line of a country's largest operator here.
pub const SUBSCRIBER_PREFIXES_MAX: usize = 1 << 24;
/// Shortest prefix, of either family, that a feed may say is a line's, in bits: beyond that it is a mistake that would give
/// one line's profile to a part of the internet. Chosen: no operator has more than a /8.
pub const SUBSCRIBER_PREFIX_BITS_MIN: u8 = 8;
/// Tokens in the table of subscribers.
pub const SUBSCRIBER_TOKENS_MAX: usize = 1 << 24;
/// Different names of profiles that subscribers have, those of past configurations included. Chosen: each is told once.
pub const SUBSCRIBER_PROFILES_MAX: usize = 4_096;
/// `[[subscribers.nat]]`: each is tried for each question by IPv4. Chosen: a gateway has one.
pub const NAT_RULES_MAX: usize = 64;
/// `[subscribers.radius.client.*]`: each network is tried for each packet. Chosen.
pub const RADIUS_CLIENTS_MAX: usize = 256;
/// Framed-IP-Netmask (RFC 2865 §5.9) is taken for a line's own network from this length on. Chosen: a line that is given a block has a
/// few addresses; a wider mask is that of a network which many lines share, and none of them is to have it.
pub const FRAMED_NETMASK_BITS_MIN: u8 = 26;
/// Addresses, prefixes and ranges of ports of one session. Chosen: a line has three or four.
pub const SESSION_PLACES_MAX: usize = 32;
/// Prefixes and blocks of ports that one session holds, over all of its packets; then the one that it has had longest goes.
/// Chosen: a line has four, a range of ports that is no power of two some thirty.
pub const SESSION_KEYS_MAX: usize = 256;
/// Packets of RADIUS that are acknowledged and wait for the table; beyond that they are not, and are sent again. Chosen: a
/// BNG that begins anew.
pub const RADIUS_QUEUE_MAX: usize = 1 << 16;
/// Sessions of the network that are known, those that ended a short while ago included.
pub const SESSIONS_MAX: usize = 1 << 23;
/// How long it is remembered that a session ended, in seconds: packets about it may still be on their way. Chosen: a NAS
/// gives up sending after some minutes.
pub const SESSION_ENDED_SECS: u32 = 900;
/// Access servers that are known, each by its name or address.
pub const NAS_MAX: usize = 1 << 14;
/// Size of a file of subscribers' state, in octets: some forty for each entry of a full table.
pub const SUBSCRIBER_STATE_OCTETS_MAX: u64 = 2 << 30;
/// One line of what feeds send, in octets: a tenth is enough.
pub const SUBSCRIBER_LINE_OCTETS_MAX: usize = 4_096;
/// Highest serial of a snapshot or a delta: room for a date with a time, and none for a slip after which nothing can follow. Chosen.
pub const SUBSCRIBER_SERIAL_MAX: u64 = 999_999_999_999_999;
/// Largest file of subscribers that a command reads: ten million lines.
pub const SUBSCRIBER_FILE_OCTETS_MAX: u64 = 1 << 30;
/// Lines of one delta, snapshot or bulk: a table's worth.
pub const SUBSCRIBER_LINES_MAX: usize = SUBSCRIBER_PREFIXES_MAX + SUBSCRIBER_TOKENS_MAX;
/// Before this moment (2025-01-01) a clock is one that nobody has set: what lapses by it counts as lapsed.
pub const CLOCK_SANE_SECS: i64 = 1_735_689_600;
/// TTL of blocks and rewrites, in seconds, while it is not known whose address asks: its session may come any moment.
pub const UNKNOWN_SUBSCRIBER_TTL_SECS: u32 = 30;

const _: () = assert!(LABELS_MAX * 2 + 1 == NAME_OCTETS_MAX);
const _: () = assert!(UDP_PAYLOAD_MIN < UDP_PAYLOAD_MAX);
const _: () = assert!(STALE_CLIENT_TIMER.as_millis() < QUERY_DEADLINE.as_millis());
const _: () = assert!(UPSTREAM_RETRIES_MAX <= UPSTREAM_TRIES_MAX);
const _: () = assert!(SESSION_PLACES_MAX <= SESSION_KEYS_MAX);
const _: () = assert!(UPSTREAM_CONNECT.as_millis() < QUERY_DEADLINE.as_millis());
