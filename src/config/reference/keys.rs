//! The table itself.

use super::{Key, TableOfKeys, Text};

const fn text(en: &'static str, vi: &'static str) -> Text {
    Text { en, vi }
}

const fn key(name: &'static str, kind: &'static str, default: &'static str, example: &'static str, what: Text) -> Key {
    Key { name, kind, default, what, example }
}

/// Bounds of [gate], which a list may have of its own.
const BOUNDS: [Key; 6] = [
    key(
        "must_not_block_max",
        "count, or \"off\"",
        "10; 0 for security lists",
        "10",
        text(
            "Names of our own list of what should not be blocked that a version may newly hit.",
            "Số tên không nên chặn (theo danh sách có sẵn) mà bản mới được phép chạm tới.",
        ),
    ),
    key(
        "must_not_block_spare",
        "count, or \"off\"",
        "10",
        "10",
        text(
            "Up to so many of them the rules that would block them are left out and the rest goes into force.",
            "Đến bấy nhiêu tên thì bỏ luật chặn chúng, phần còn lại vẫn có hiệu lực.",
        ),
    ),
    key(
        "popular_max",
        "count, or \"off\"",
        "10; \"off\" for ads",
        "10",
        text(
            "Names of the ranked file that a version may newly hit.",
            "Số tên phổ biến mà bản mới được phép chạm tới.",
        ),
    ),
    key(
        "questions_max",
        "share, or \"off\"",
        "\"1 %\"",
        "\"1 %\"",
        text(
            "Share of what people ask that a version may newly block.",
            "Phần câu hỏi của người dùng mà bản mới được phép chặn thêm.",
        ),
    ),
    key(
        "shrink_max",
        "share, or \"off\"",
        "\"30 %\"",
        "\"30 %\"",
        text(
            "Share of its rules that a list may lose from one version to the next.",
            "Phần luật mà danh sách được phép mất giữa hai bản.",
        ),
    ),
    key(
        "grow_max",
        "share, or \"off\"",
        "\"50 %\"; phishing \"200 %\"",
        "\"50 %\"",
        text("Share of its rules that a list may gain.", "Phần luật mà danh sách được phép tăng."),
    ),
];

/// Every table, in the order of the embedded file.
pub const TABLES: &[TableOfKeys] = &[
    TableOfKeys {
        title: "",
        what: text(
            "Keys that stand above the first table of the file.",
            "Các khóa đứng phía trên bảng đầu tiên của tệp.",
        ),
        keys: &[
            key(
                "time_zone",
                "IANA name",
                "\"Asia/Ho_Chi_Minh\"",
                "\"Asia/Ho_Chi_Minh\"",
                text(
                    "The clock people live by: windows open and close by it, unless a profile or a window has its own.",
                    "Múi giờ mọi người dùng: khung giờ đóng mở theo múi giờ này, trừ khi hồ sơ hoặc khung giờ có múi giờ riêng.",
                ),
            ),
            key(
                "mode",
                "\"enforce\" or \"observe\"",
                "\"enforce\"",
                "\"enforce\"",
                text(
                    "observe: everybody is answered as upstream does, and what would have been done is counted (lachan_observed_total). Legal orders and local names are done all the same. A client's and a profile's own mode go before it.",
                    "observe: trả lời mọi người như máy chủ cấp trên, chỉ đếm việc lẽ ra đã làm (lachan_observed_total). Lệnh chặn theo luật và tên cục bộ vẫn được thực hiện. mode của máy hỏi và của hồ sơ được ưu tiên hơn.",
                ),
            ),
            key(
                "observe_percent",
                "whole number, 0 to 100, percent of lines",
                "0",
                "10",
                text(
                    "With mode = \"enforce\": so many of every hundred lines are only observed, the same ones on every node. A line is an IPv4 address or an IPv6 /56.",
                    "Khi mode = \"enforce\": cứ một trăm thuê bao thì bấy nhiêu thuê bao chỉ được quan sát, giống nhau trên mọi nút. Một thuê bao là một địa chỉ IPv4 hoặc một /56 IPv6.",
                ),
            ),
            key(
                "bootstrap",
                "addresses, port 53 unless given",
                "the upstreams given by address, else the system's",
                "[\"192.0.2.1\", \"[2001:db8::1]:53\"]",
                text(
                    "Servers that resolve the host names in `servers` of [[upstream]] and in lists' URLs.",
                    "Máy chủ phân giải tên trong `servers` của [[upstream]] và trong URL của danh sách.",
                ),
            ),
            key(
                "upstream_ca_file",
                "path of a PEM file",
                "the system's authorities alone",
                "\"/etc/lachan/tls/upstream-ca.pem\"",
                text(
                    "More certificate authorities for encrypted upstreams and for lists by URL.",
                    "Thêm cơ quan chứng thực cho máy chủ cấp trên có mã hóa và danh sách theo URL.",
                ),
            ),
            key(
                "block_ttl",
                "duration, \"10 s\" to \"60 s\", whole seconds",
                "\"10 s\"",
                "\"10 s\"",
                text(
                    "How long a client may remember a block. Longer: fewer questions, but a name that you allow stays blocked that much longer.",
                    "Thời gian máy hỏi được nhớ kết quả chặn. Dài hơn: ít câu hỏi hơn, nhưng tên vừa cho phép vẫn bị chặn lâu hơn.",
                ),
            ),
            key(
                "rebind_protection",
                "true or false",
                "false",
                "true",
                text(
                    "Answers for public names must not hold private addresses (DNS rebinding).",
                    "Câu trả lời cho tên công cộng không được chứa địa chỉ riêng (chống DNS rebinding).",
                ),
            ),
            key(
                "rebind_allow",
                "names",
                "none",
                "[\"example.com\"]",
                text(
                    "Names, with all below, that rebind_protection spares.",
                    "Các tên, kể cả tên con, được miễn rebind_protection.",
                ),
            ),
            key(
                "state_directory",
                "path",
                "$STATE_DIRECTORY, else /var/lib/lachan",
                "\"/var/lib/lachan\"",
                text(
                    "Where state is kept. Unwritable: it runs without and says so.",
                    "Nơi giữ trạng thái. Không ghi được: vẫn chạy và báo rõ.",
                ),
            ),
            key(
                "node_name",
                "text, at most 255 octets",
                "the machine's name",
                "\"hn-1\"",
                text(
                    "Told by `dig CH TXT id.server` from loopback and by NSID: tells machines behind one address apart. Names this node to the others of a fleet.",
                    "Trả lời cho `dig CH TXT id.server` từ chính máy và cho NSID: phân biệt các máy sau cùng một địa chỉ. Cũng là tên nút này đối với các nút khác.",
                ),
            ),
            key(
                "drain_timeout",
                "duration, \"0\" to \"5 minutes\"",
                "\"5 s\"",
                "\"10 s\"",
                text("How long a stop waits for questions in flight.", "Thời gian chờ các câu hỏi dở dang khi dừng."),
            ),
        ],
    },
    TableOfKeys {
        title: "[listen]",
        what: text("Where it listens.", "Nơi lắng nghe."),
        keys: &[
            key(
                "dns",
                "addresses, port 53 unless given",
                "[\"127.0.0.1:5354\", \"[::1]:5354\"]",
                "[\"0.0.0.0:53\", \"[::]:53\"]",
                text(
                    "Plain DNS, UDP and TCP on each. Beyond loopback an [[upstream]] is needed.",
                    "DNS thường, UDP và TCP. Ngoài loopback phải có [[upstream]].",
                ),
            ),
            key(
                "dot",
                "addresses, port 853 unless given",
                "none",
                "[\"0.0.0.0:853\"]",
                text("DNS over TLS; needs [tls].", "DNS qua TLS; cần [tls]."),
            ),
            key(
                "doh",
                "addresses, port 443 unless given",
                "none",
                "[\"0.0.0.0:443\"]",
                text(
                    "DNS over HTTPS: HTTP/1.1 and HTTP/2 by TCP, HTTP/3 by UDP; needs [tls].",
                    "DNS qua HTTPS: HTTP/1.1 và HTTP/2 qua TCP, HTTP/3 qua UDP; cần [tls].",
                ),
            ),
            key(
                "doq",
                "addresses, port 853 unless given",
                "none",
                "[\"0.0.0.0:853\"]",
                text("DNS over QUIC; needs [tls].", "DNS qua QUIC; cần [tls]."),
            ),
            key(
                "admin",
                "address, or \"off\"",
                "\"127.0.0.1:9153\"",
                "\"127.0.0.1:9153\"",
                text("/metrics, /healthz, /readyz and /api/v1.", "/metrics, /healthz, /readyz và /api/v1."),
            ),
            key(
                "udp_engine",
                "\"batched\" or \"portable\"",
                "\"batched\"",
                "\"batched\"",
                text(
                    "How datagrams are taken from the kernel: many at a time by threads of their own, or one at a time.",
                    "Cách lấy gói tin từ nhân: nhiều gói một lần bằng luồng riêng, hoặc từng gói.",
                ),
            ),
            key(
                "udp_workers",
                "whole number, 1 to 256, threads",
                "as many as there are cores",
                "2",
                text("Threads for each address.", "Số luồng cho mỗi địa chỉ."),
            ),
            key(
                "udp_pinned",
                "true or false",
                "false",
                "true",
                text("Each thread stays on a core of its own.", "Mỗi luồng ở trên một nhân CPU riêng."),
            ),
        ],
    },
    TableOfKeys {
        title: "[tls]",
        what: text(
            "Certificate and name of the encrypted listeners, and what clients are told of them.",
            "Chứng thư và tên của các cổng có mã hóa, và điều máy hỏi được biết về chúng.",
        ),
        keys: &[
            key(
                "certificate_file",
                "path of a PEM file",
                "none",
                "\"tls/fullchain.pem\"",
                text(
                    "The certificate with its chain. Read again at a reload.",
                    "Chứng thư kèm chuỗi. Được đọc lại khi nạp lại.",
                ),
            ),
            key(
                "private_key_file",
                "path of a PEM file",
                "none",
                "\"tls/privkey.pem\"",
                text("The private key of the certificate.", "Khóa riêng của chứng thư."),
            ),
            key(
                "name",
                "name",
                "the certificate's first",
                "\"dns.example.vn\"",
                text("The name by which clients are told to reach it.", "Tên mà máy hỏi được chỉ để kết nối."),
            ),
            key(
                "addresses",
                "addresses without ports",
                "the address that was asked, else where it listens",
                "[\"192.0.2.53\"]",
                text("Where clients are told to reach it.", "Địa chỉ mà máy hỏi được chỉ để kết nối."),
            ),
            key(
                "info_url",
                "https URL",
                "none",
                "\"https://dns.example.vn/\"",
                text("A page for people, told in RESINFO.", "Trang cho người dùng, báo trong RESINFO."),
            ),
            key(
                "ddr",
                "\"on\" or \"off\", or the table [tls.ddr]",
                "\"on\"",
                "\"on\"",
                text(
                    "Whether clients are told of the encrypted service (RFC 9462).",
                    "Máy hỏi có được báo về dịch vụ mã hóa không (RFC 9462).",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[tls.ddr]",
        what: text("In place of `ddr`: a share of clients.", "Thay cho `ddr`: một phần máy hỏi."),
        keys: &[key(
            "share",
            "share, \"0 %\" to \"100 %\"",
            "\"100 %\"",
            "\"10 %\"",
            text("Of clients so many are told of the encrypted service.", "Tỷ lệ máy hỏi được báo về dịch vụ mã hóa."),
        )],
    },
    TableOfKeys {
        title: "[access]",
        what: text("Who may ask.", "Ai được hỏi."),
        keys: &[
            key(
                "allow",
                "networks",
                "loopback, link-local, RFC 1918, 100.64.0.0/10, ULA",
                "[\"10.0.0.0/8\", \"2001:db8::/32\"]",
                text(
                    "Who may ask; the networks of every [client.*] are always added. Too wide: an open resolver, which others use for attacks.",
                    "Ai được hỏi; mạng của mọi [client.*] luôn được thêm. Quá rộng: máy phân giải mở, bị lợi dụng để tấn công.",
                ),
            ),
            key(
                "strangers",
                "\"refuse\" or \"drop\"",
                "\"refuse\"",
                "\"refuse\"",
                text(
                    "What everyone else gets: REFUSED with EDE 18, rate-limited, or nothing.",
                    "Người khác nhận gì: REFUSED kèm EDE 18, có giới hạn, hoặc không gì cả.",
                ),
            ),
            key(
                "trusted",
                "networks",
                "none",
                "[\"192.0.2.11\"]",
                text(
                    "Routers and web servers whose EDNS client ids (65001, 65074) and X-Forwarded-For are believed. Too wide: whoever is in it can say to be anybody.",
                    "Bộ định tuyến và máy chủ web mà mã máy khách trong EDNS (65001, 65074) và X-Forwarded-For được tin. Quá rộng: ai trong đó cũng có thể mạo danh.",
                ),
            ),
            key(
                "proxies",
                "networks",
                "none",
                "[\"192.0.2.10\"]",
                text(
                    "Proxies whose every datagram and TCP connection begins with a PROXY header (version 2); without one it is dropped. Not for QUIC.",
                    "Proxy mà mỗi gói và mỗi kết nối TCP bắt đầu bằng tiêu đề PROXY (phiên bản 2); thiếu thì bị bỏ. Không dùng cho QUIC.",
                ),
            ),
            key(
                "proxy_identity_tlv",
                "whole number, 224 to 239",
                "224",
                "224",
                text(
                    "Type of the header's value that holds who asks, as one of the `ids`.",
                    "Loại giá trị trong tiêu đề chứa danh tính người hỏi, như trong `ids`.",
                ),
            ),
            key(
                "proxy_realm_tlv",
                "whole number, 224 to 239",
                "225",
                "225",
                text(
                    "Type of the header's value that holds a realm's name or number.",
                    "Loại giá trị trong tiêu đề chứa tên hoặc số của vùng.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[[upstream]]",
        what: text("Where questions go. The most specific zone wins.", "Nơi gửi câu hỏi. Vùng cụ thể nhất được chọn."),
        keys: &[
            key(
                "zones",
                "names",
                "[\".\"]",
                "[\".\"]",
                text("Zones that these servers are asked about.", "Các vùng hỏi những máy chủ này."),
            ),
            key(
                "servers",
                "URLs: udp, tcp, tls, https, quic",
                "must be there",
                "[\"udp://192.0.2.1\", \"tls://192.0.2.2#dns.example\"]",
                text(
                    "The servers; with tls, https and quic the name to verify.",
                    "Các máy chủ; với tls, https và quic là tên để xác thực.",
                ),
            ),
            key(
                "tier",
                "whole number, 1 to 255",
                "1",
                "1",
                text(
                    "The next tier is asked while this one is down, or none of it can answer; never where this one finds a name forged (DNSSEC).",
                    "Bậc sau được hỏi khi bậc này hỏng hoặc không trả lời được; không bao giờ khi bậc này phát hiện tên bị giả mạo (DNSSEC).",
                ),
            ),
            key(
                "fallback",
                "\"none\" or \"parent\"",
                "\"none\"",
                "\"none\"",
                text(
                    "parent: ask the enclosing zone's servers when all of these fail.",
                    "parent: hỏi máy chủ của vùng cha khi tất cả đều hỏng.",
                ),
            ),
            key(
                "trust_ad",
                "true or false",
                "false",
                "true",
                text(
                    "Pass on AD although nothing proves who answered.",
                    "Chuyển tiếp AD dù không có gì chứng minh ai trả lời.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[cache]",
        what: text("What upstream said, kept.", "Lưu những gì máy chủ cấp trên đã trả lời."),
        keys: &[
            key(
                "size",
                "size, \"1 MiB\" or more",
                "\"256 MiB\"",
                "\"256 MiB\"",
                text(
                    "Memory for answers. Too small: more questions go upstream, people wait.",
                    "Bộ nhớ cho câu trả lời. Quá nhỏ: phải hỏi cấp trên nhiều hơn, người dùng phải chờ.",
                ),
            ),
            key(
                "serve_stale",
                "duration, \"off\" to \"7 days\"",
                "\"1 day\"",
                "\"1 day\"",
                text(
                    "How long after its end an answer may serve while upstream is down.",
                    "Câu trả lời hết hạn được dùng bao lâu khi cấp trên hỏng.",
                ),
            ),
            key(
                "max_client_ttl",
                "duration, \"1 s\" to \"1 day\"",
                "\"1 hour\"",
                "\"1 hour\"",
                text(
                    "Longest TTL told to clients; near a window's border it is shorter by itself.",
                    "TTL dài nhất báo cho máy hỏi; gần lúc khung giờ đóng mở thì tự ngắn lại.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[operator]",
        what: text(
            "The operator's own lists, for every profile, above security lists.",
            "Danh sách riêng của nhà vận hành, cho mọi hồ sơ, trên cả danh sách an toàn.",
        ),
        keys: &[
            key(
                "allow",
                "names: `name` and all below, `=name`, `*.name`",
                "none",
                "[\"example.vn\"]",
                text("Never blocked by lists or profiles.", "Không bị danh sách hay hồ sơ nào chặn."),
            ),
            key(
                "deny",
                "names, likewise",
                "none",
                "[\"bad.example\"]",
                text("Blocked for everybody, but for protected names.", "Chặn với mọi người, trừ tên được bảo vệ."),
            ),
        ],
    },
    TableOfKeys {
        title: "[gate]",
        what: text(
            "What a new version of a list must keep to go into force by itself.",
            "Điều bản mới của danh sách phải giữ để tự có hiệu lực.",
        ),
        keys: &[
            BOUNDS[0],
            BOUNDS[1],
            BOUNDS[2],
            BOUNDS[3],
            BOUNDS[4],
            BOUNDS[5],
            key(
                "popular_file",
                "path",
                "none",
                "\"tranco.csv\"",
                text(
                    "Popular names, `rank,name` or a name a line, the most popular first.",
                    "Tên phổ biến, mỗi dòng `hạng,tên` hoặc một tên, phổ biến nhất đứng đầu.",
                ),
            ),
            key(
                "popular_top",
                "whole number, 1 to 2000000",
                "10000",
                "10000",
                text("So many of them count.", "Chỉ tính bấy nhiêu tên đầu."),
            ),
            key(
                "learn",
                "\"memory\", \"disk\" or \"off\"",
                "\"memory\"",
                "\"memory\"",
                text(
                    "Whether it is learnt which names people ask for: keyed hashes with counts, no client.",
                    "Có học tên nào được hỏi nhiều không: chỉ giữ mã băm có khóa và số đếm, không giữ máy hỏi.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[contact]",
        what: text(
            "Whom people turn to, told to programs that ask for reasons (Structured DNS Error).",
            "Nơi để liên hệ, báo cho chương trình hỏi lý do chặn (Structured DNS Error).",
        ),
        keys: &[
            key(
                "tel",
                "telephone numbers, at most 2",
                "[\"111;phone-context=+84\"]",
                "[\"111;phone-context=+84\"]",
                text("Numbers to call, the first first.", "Số điện thoại, số đầu tiên được gọi trước."),
            ),
            key(
                "mailto",
                "mail addresses, at most 2",
                "none",
                "[\"hotro@example.vn\"]",
                text("Addresses to write to.", "Địa chỉ thư."),
            ),
            key(
                "organization",
                "text, at most 64 octets",
                "none",
                "\"Trường Ví Dụ\"",
                text("Whose decision it is.", "Tổ chức quyết định việc chặn."),
            ),
            key(
                "language",
                "\"vi\" or \"en\"",
                "\"vi\"",
                "\"vi\"",
                text("Language of the reasons.", "Ngôn ngữ của lý do."),
            ),
        ],
    },
    TableOfKeys {
        title: "[page]",
        what: text(
            "The notice page of block_response = \"page\" and of walled gardens.",
            "Trang thông báo của block_response = \"page\" và của walled-garden.",
        ),
        keys: &[
            key("v4", "IPv4 address", "none", "\"192.0.2.80\"", text("Its IPv4 address.", "Địa chỉ IPv4 của trang.")),
            key("v6", "IPv6 address", "none", "\"2001:db8::80\"", text("Its IPv6 address.", "Địa chỉ IPv6 của trang.")),
        ],
    },
    TableOfKeys {
        title: "[cookies]",
        what: text("DNS cookies (RFC 7873, 9018).", "DNS cookie (RFC 7873, 9018)."),
        keys: &[
            key(
                "enabled",
                "true or false",
                "true",
                "true",
                text("Whether cookies are answered.", "Có trả lời cookie không."),
            ),
            key(
                "secret_file",
                "path",
                "a secret of this process's own",
                "\"cookie-secrets\"",
                text(
                    "A line of 32 hexadecimal digits each; the first makes cookies, all are accepted. Nodes behind one address share it.",
                    "Mỗi dòng 32 chữ số thập lục phân; dòng đầu tạo cookie, mọi dòng được chấp nhận. Các nút sau cùng địa chỉ dùng chung.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[rate_limit]",
        what: text(
            "What one line may ask for; without this table nobody is limited.",
            "Một thuê bao được hỏi bao nhiêu; không có bảng này thì không giới hạn ai.",
        ),
        keys: &[
            key(
                "mode",
                "\"off\", \"dry-run\" or \"enforce\"",
                "\"off\"",
                "\"dry-run\"",
                text("dry-run counts without limiting.", "dry-run chỉ đếm, không giới hạn."),
            ),
            key(
                "misses_per_second",
                "whole number, 1 to 1000000",
                "50",
                "50",
                text("Questions a second that upstream has to be asked for.", "Số câu hỏi mỗi giây phải hỏi cấp trên."),
            ),
            key(
                "amplified_per_second",
                "size",
                "\"16 KiB\"",
                "\"16 KiB\"",
                text(
                    "Octets a second of answers beyond 1.5 times their questions.",
                    "Số byte trả lời mỗi giây vượt 1,5 lần câu hỏi.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[subscribers]",
        what: text(
            "Lines that come and go, told while it runs; without this table there are none.",
            "Thuê bao thay đổi liên tục, được báo trong lúc chạy; không có bảng này thì không có thuê bao nào.",
        ),
        keys: &[
            key(
                "api_token_file",
                "path",
                "none: the API changes nothing",
                "\"api.token\"",
                text(
                    "File with what whoever uses /api/v1/subscribers shows; 16 characters at least.",
                    "Tệp chứa mã mà bên gọi /api/v1/subscribers phải trình; ít nhất 16 ký tự.",
                ),
            ),
            key(
                "state_key_file",
                "path",
                "none: nothing is kept over a restart",
                "\"state.key\"",
                text(
                    "File with 64 hexadecimal digits that the state on disk, and in a store, is encrypted with; nodes that share a store have the same.",
                    "Tệp chứa 64 chữ số thập lục phân dùng để mã hóa trạng thái trên đĩa và trong kho chung; các nút chung kho dùng cùng một khóa.",
                ),
            ),
            key(
                "token_key_files",
                "paths, at most 2",
                "none",
                "[\"token.key\"]",
                text(
                    "Files with 32 hexadecimal digits; the first makes tokens of lines' identifiers, the other is still understood.",
                    "Các tệp chứa 32 chữ số thập lục phân; khóa đầu tạo mã thuê bao, khóa kia vẫn được hiểu.",
                ),
            ),
            key(
                "interim_interval",
                "duration, 1 minute to 1 day",
                "\"10 min\"",
                "\"10 min\"",
                text(
                    "How often the network confirms a session; one weaker than the default profile lapses after twice as long.",
                    "Bao lâu mạng xác nhận phiên một lần; phiên lỏng hơn hồ sơ mặc định hết hiệu lực sau hai lần khoảng này.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[[subscribers.nat]]",
        what: text(
            "A gateway that gives inside addresses blocks of ports in order (RFC 7422).",
            "Cổng NAT cấp khối cổng cho địa chỉ bên trong theo thứ tự (RFC 7422).",
        ),
        keys: &[
            key(
                "inside",
                "IPv4 network",
                "needed",
                "\"100.64.0.0/24\"",
                text("Addresses of lines.", "Địa chỉ của các đường dây."),
            ),
            key(
                "outside",
                "IPv4 network",
                "needed",
                "\"203.0.113.0/28\"",
                text("Addresses that are shared.", "Địa chỉ dùng chung."),
            ),
            key(
                "realm",
                "whole number, 0 to 65535",
                "0",
                "1",
                text("Where inside addresses are known.", "Vùng mà địa chỉ bên trong thuộc về."),
            ),
            key(
                "first_port",
                "port",
                "1024",
                "1024",
                text("Ports below are nobody's.", "Cổng nhỏ hơn không thuộc về ai."),
            ),
            key(
                "ports_per_subscriber",
                "whole number, 1 to 65535",
                "needed",
                "1000",
                text("Ports of one inside address.", "Số cổng của một địa chỉ bên trong."),
            ),
        ],
    },
    TableOfKeys {
        title: "[subscribers.radius]",
        what: text("A copy of RADIUS accounting (RFC 2866).", "Bản sao luồng RADIUS accounting (RFC 2866)."),
        keys: &[
            key(
                "listen",
                "addresses",
                "needed; port 1813",
                "[\"192.0.2.53:1813\"]",
                text("Where packets come in.", "Nơi nhận gói tin."),
            ),
            key(
                "token_from",
                "of Agent-Circuit-Id, NAS-Port-Id, User-Name",
                "all, in this order",
                "[\"Agent-Circuit-Id\"]",
                text(
                    "The first attribute that is there identifies the line.",
                    "Thuộc tính đầu tiên có mặt được dùng làm định danh đường dây.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[subscribers.radius.client.NAME]",
        what: text("Who sends a copy of the stream.", "Bên gửi bản sao của luồng."),
        keys: &[
            key("networks", "networks", "needed", "[\"192.0.2.64/28\"]", text("Where it sends from.", "Địa chỉ gửi.")),
            key(
                "secret_file",
                "path",
                "needed",
                "\"radius.secret\"",
                text("File with the shared secret; 8 characters at least.", "Tệp chứa bí mật chung; ít nhất 8 ký tự."),
            ),
            key(
                "realm",
                "whole number, 0 to 65535",
                "0",
                "1",
                text("Where addresses of its sessions are known.", "Vùng mà địa chỉ của các phiên thuộc về."),
            ),
        ],
    },
    TableOfKeys {
        title: "[subscribers.leases.NAME]",
        what: text(
            "A file of DHCP leases as Kea keeps it, with the relay's option 82 (store-extended-info).",
            "Tệp cấp phát DHCP của Kea, kèm tùy chọn 82 của relay (store-extended-info).",
        ),
        keys: &[
            key(
                "file",
                "path",
                "needed",
                "\"/var/lib/kea/kea-leases4.csv\"",
                text(
                    "The file; it is looked at every second. At the start those of Kea's clean-up beside it are read too.",
                    "Tệp cấp phát; được xem lại mỗi giây. Lúc khởi động, các tệp do Kea dọn dẹp để bên cạnh cũng được đọc.",
                ),
            ),
            key(
                "realm",
                "whole number, 0 to 65535",
                "0",
                "1",
                text("Where its addresses are known.", "Vùng mà các địa chỉ thuộc về."),
            ),
        ],
    },
    TableOfKeys {
        title: "[subscribers.store]",
        what: text(
            "A Valkey or Redis server by which several nodes share their map and, with state_key_file, what people tell one of them; each serves from its own memory.",
            "Máy chủ Valkey hoặc Redis để nhiều nút dùng chung bảng thuê bao và, khi có state_key_file, các lệnh của người vận hành; mỗi nút vẫn phục vụ từ bộ nhớ của mình.",
        ),
        keys: &[
            key(
                "url",
                "URL",
                "needed, or url_file",
                "\"redis://192.0.2.9:6379\"",
                text("Where it is.", "Địa chỉ máy chủ."),
            ),
            key(
                "url_file",
                "path",
                "none",
                "\"store.url\"",
                text("File with the URL, when there is a password in it.", "Tệp chứa URL, khi trong đó có mật khẩu."),
            ),
            key(
                "prefix",
                "text",
                "\"lachan\"",
                "\"lachan\"",
                text("What the names of all its keys begin with.", "Phần đầu tên mọi khóa trên máy chủ."),
            ),
        ],
    },
    TableOfKeys {
        title: "[zone_limit]",
        what: text(
            "How often questions about one zone may fail; without this table no zone is limited.",
            "Câu hỏi về một vùng được hỏng bao nhiêu lần; không có bảng này thì không giới hạn vùng nào.",
        ),
        keys: &[
            key(
                "mode",
                "\"off\", \"dry-run\" or \"enforce\"",
                "\"off\"",
                "\"dry-run\"",
                text("dry-run counts without limiting.", "dry-run chỉ đếm, không giới hạn."),
            ),
            key(
                "failures_per_second",
                "whole number, 1 to 1000000",
                "100",
                "100",
                text(
                    "Failures a second before upstream is left alone with a zone.",
                    "Số lần hỏng mỗi giây trước khi ngừng hỏi cấp trên về vùng đó.",
                ),
            ),
            key(
                "spare",
                "names",
                "none",
                "[\"zen.dnsbl.example\"]",
                text(
                    "Zones that are never limited, with all below.",
                    "Các vùng không bao giờ bị giới hạn, kể cả tên con.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[orders]",
        what: text("Legal orders (`lachan orders`).", "Yêu cầu của cơ quan có thẩm quyền (`lachan orders`)."),
        keys: &[
            key(
                "directory",
                "path",
                "orders in the state directory",
                "\"/var/lib/lachan/orders\"",
                text(
                    "Where the files of orders are, one an order. What a command wrote is changed by commands alone.",
                    "Nơi chứa tệp yêu cầu, mỗi yêu cầu một tệp. Tệp do lệnh ghi chỉ được sửa bằng lệnh.",
                ),
            ),
            key(
                "second_approval",
                "time, \"1 hour\" to \"7 days\"",
                "\"24 hours\"",
                "\"24 hours\"",
                text(
                    "How long an order acts on one person's word until a second person approves it.",
                    "Một người có thể cho yêu cầu có hiệu lực trong bao lâu khi chờ người thứ hai phê duyệt.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[list.NAME]",
        what: text(
            "A list of names. One of `file` and `url` must be there.",
            "Một danh sách tên. Phải có `file` hoặc `url`.",
        ),
        keys: &[
            key(
                "category",
                "category",
                "must be there",
                "\"adult\"",
                text("What its names belong to.", "Các tên thuộc loại nào."),
            ),
            key(
                "format",
                "\"auto\", \"hosts\", \"domains\", \"adblock\", \"dnsmasq\", \"unbound\", \"rpz\", \"keywords\", \"compiled\"",
                "\"auto\"",
                "\"auto\"",
                text("How it is written; gzip and zstd are unpacked.", "Định dạng; gzip và zstd được giải nén."),
            ),
            key(
                "match",
                "\"exact\" or \"subtree\"",
                "hosts exact, the others subtree",
                "\"subtree\"",
                text("What a bare name covers.", "Một tên trần bao gồm những gì."),
            ),
            key(
                "file",
                "path, directory, pattern, or \"builtin:NAME\"",
                "none",
                "\"builtin:adult\"",
                text("Where it is read from.", "Nơi đọc danh sách."),
            ),
            key(
                "url",
                "URL, https unless it has a proof",
                "none",
                "\"https://lists.example/adult.txt\"",
                text("Where it is fetched from.", "Nơi tải danh sách."),
            ),
            key(
                "refresh",
                "duration, \"5 minutes\" to \"30 days\"",
                "\"24 h\"",
                "\"6h\"",
                text("How often it is fetched.", "Bao lâu tải lại một lần."),
            ),
            key(
                "sha256",
                "64 hexadecimal digits",
                "none",
                "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
                text(
                    "What the file must sum to; then it never changes.",
                    "Tổng kiểm mà tệp phải có; khi đó tệp không đổi.",
                ),
            ),
            key(
                "minisign_key",
                "minisign public key",
                "none",
                "\"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\"",
                text(
                    "Whose signature must lie beside it, at the URL with .minisig behind.",
                    "Khóa có chữ ký phải nằm cạnh tệp, ở URL thêm .minisig.",
                ),
            ),
            key(
                "allow_private",
                "true or false",
                "false",
                "false",
                text("Its host may be in a private network.", "Máy chủ được phép ở trong mạng riêng."),
            ),
            key(
                "required",
                "true or false",
                "true",
                "true",
                text(
                    "Refuse to start without it; of a URL: start, but be not ready until it came once.",
                    "Không có thì từ chối khởi động; với URL: vẫn chạy nhưng chưa sẵn sàng đến khi tải được.",
                ),
            ),
            key(
                "public_suffixes",
                "\"spare\" or \"obey\"",
                "\"spare\"",
                "\"spare\"",
                text(
                    "obey: a rule may take all of a public suffix.",
                    "obey: một luật được phép chặn cả hậu tố công cộng.",
                ),
            ),
            key(
                "block_keywords",
                "words",
                "none",
                "[\"casino\"]",
                text(
                    "Of a list of keywords those that block; the others only count.",
                    "Trong danh sách từ khóa, những từ sẽ chặn; các từ khác chỉ đếm.",
                ),
            ),
            key(
                "gate",
                "\"off\", or the table [list.NAME.gate]",
                "[gate]'s bounds",
                "\"off\"",
                text("off: a new version is never held.", "off: bản mới không bao giờ bị giữ lại."),
            ),
        ],
    },
    TableOfKeys {
        title: "[list.NAME.gate]",
        what: text(
            "In place of `gate`: bounds of this list's own, as in [gate].",
            "Thay cho `gate`: giới hạn riêng của danh sách này, như trong [gate].",
        ),
        keys: &BOUNDS,
    },
    TableOfKeys {
        title: "[category.NAME]",
        what: text(
            "One more category, or other titles for one of ours.",
            "Thêm một loại, hoặc đổi tên hiển thị của loại có sẵn.",
        ),
        keys: &[
            key(
                "layer",
                "\"content\" or \"security\"",
                "\"content\"",
                "\"content\"",
                text(
                    "security: on in every profile; content: a profile's choice.",
                    "security: bật trong mọi hồ sơ; content: tùy hồ sơ.",
                ),
            ),
            key(
                "title_en",
                "text",
                "its name",
                "\"vaping\"",
                text("What people are told, in English.", "Tên hiển thị bằng tiếng Anh."),
            ),
            key(
                "title_vi",
                "text",
                "its name",
                "\"thuốc lá điện tử\"",
                text("What people are told, in Vietnamese.", "Tên hiển thị bằng tiếng Việt."),
            ),
        ],
    },
    TableOfKeys {
        title: "[profile.NAME]",
        what: text(
            "What a group of clients gets. Shipped, and usable without a table: default, family, school, unfiltered, business, walled-garden.",
            "Một nhóm máy hỏi được gì. Có sẵn, dùng được không cần khai báo: default, family, school, unfiltered, business, walled-garden.",
        ),
        keys: &[
            key(
                "inherit",
                "profile",
                "\"default\"",
                "\"default\"",
                text(
                    "Takes another profile's values for the keys not given; its own name means the shipped profile of that name.",
                    "Lấy giá trị của hồ sơ khác cho các khóa không ghi; ghi chính tên mình là lấy hồ sơ có sẵn cùng tên.",
                ),
            ),
            key(
                "block",
                "content categories and services",
                "the parent's",
                "[\"adult\", \"gambling\", \"service:roblox\"]",
                text(
                    "What it blocks. Services: `lachan services list`.",
                    "Chặn những gì. Dịch vụ: `lachan services list`.",
                ),
            ),
            key(
                "shadow",
                "content categories and services",
                "the parent's",
                "[\"games\"]",
                text(
                    "Counted and not blocked (lachan_shadow_blocked_total): what a category would block, before it does.",
                    "Chỉ đếm, không chặn (lachan_shadow_blocked_total): xem trước một loại sẽ chặn gì.",
                ),
            ),
            key(
                "security",
                "true or false",
                "the parent's; true",
                "true",
                text(
                    "The security lists. false: no protection from malware and phishing; for the operator's own use.",
                    "Danh sách an toàn. false: không được bảo vệ khỏi mã độc và lừa đảo; chỉ dành cho nhà vận hành.",
                ),
            ),
            key(
                "security_for",
                "\"all\" or \"addresses\"",
                "the parent's; \"all\"",
                "\"addresses\"",
                text(
                    "addresses: security lists are heard for A, AAAA, HTTPS, SVCB and ANY alone, so that mail to and from a listed name does not bounce.",
                    "addresses: danh sách an toàn chỉ áp dụng cho A, AAAA, HTTPS, SVCB và ANY, để thư điện tử không bị trả lại.",
                ),
            ),
            key(
                "safe_search",
                "true or false",
                "the parent's; true",
                "true",
                text(
                    "Every search engine that has a SafeSearch is forced into it; an allow rule does not switch it off.",
                    "Bắt buộc tìm kiếm an toàn ở mọi công cụ có hỗ trợ; luật cho phép không tắt được.",
                ),
            ),
            key(
                "safe_search_except",
                "search engines",
                "the parent's",
                "[\"bing\"]",
                text(
                    "Engines that are left alone; names as in `lachan safesearch test`.",
                    "Các công cụ được miễn; tên như trong `lachan safesearch test`.",
                ),
            ),
            key(
                "youtube",
                "\"off\", \"moderate\" or \"strict\"",
                "the parent's; \"off\"",
                "\"moderate\"",
                text("YouTube's restricted mode.", "Chế độ hạn chế của YouTube."),
            ),
            key(
                "block_response",
                "\"nxdomain\", \"nodata\", \"refused\", \"null-ip\", \"page\" or \"drop\"",
                "the parent's; \"nxdomain\"",
                "\"nxdomain\"",
                text("What a block looks like.", "Kết quả chặn trông thế nào."),
            ),
            key(
                "block_ttl",
                "duration, \"1 s\" to \"60 s\", whole seconds",
                "the parent's, else the file's",
                "\"5 s\"",
                text(
                    "How long a client of this profile may remember a block.",
                    "Máy hỏi của hồ sơ này được nhớ kết quả chặn bao lâu.",
                ),
            ),
            key(
                "mode",
                "\"enforce\", \"observe\", \"allow-only\" or \"walled-garden\"",
                "the parent's; as for everybody",
                "\"enforce\"",
                text(
                    "observe: as upstream, counted. allow-only: only what is allowed, and what machines need to work, as in an exam room. walled-garden: likewise, and all else leads to [page], for 5 s.",
                    "observe: như cấp trên, chỉ đếm. allow-only: chỉ tên được cho phép và những gì máy cần để hoạt động, như phòng thi. walled-garden: tương tự, mọi tên khác dẫn tới [page], trong 5 giây.",
                ),
            ),
            key(
                "time_zone",
                "IANA name",
                "the parent's, else the file's",
                "\"Asia/Ho_Chi_Minh\"",
                text("The clock of its windows.", "Múi giờ của các khung giờ."),
            ),
            key(
                "calendar",
                "path of an .ics file, or \"off\"",
                "the parent's; none",
                "\"lich.ics\"",
                text(
                    "Holidays, on which its windows stay closed, and terms (events with CATEGORIES:TERM), outside of which they do.",
                    "Ngày nghỉ, khi khung giờ không mở, và học kỳ (sự kiện có CATEGORIES:TERM), ngoài học kỳ khung giờ cũng không mở.",
                ),
            ),
            key(
                "allow",
                "names: `name` and all below, `=name`, `*.name`",
                "the parent's",
                "[\"example.edu.vn\"]",
                text(
                    "Its own exceptions: they win over categories, not over security, orders and the operator.",
                    "Ngoại lệ riêng: thắng các loại nội dung, không thắng an toàn, lệnh chặn và nhà vận hành.",
                ),
            ),
            key(
                "deny",
                "names, likewise",
                "the parent's",
                "[\"bad.example\"]",
                text("Its own blocks.", "Danh sách chặn riêng."),
            ),
        ],
    },
    TableOfKeys {
        title: "[profile.NAME.block_responses]",
        what: text(
            "What blocks of one category look like; the key is the category.",
            "Kết quả chặn của từng loại; khóa là tên loại.",
        ),
        keys: &[key(
            "CATEGORY",
            "as block_response",
            "the profile's block_response",
            "\"page\"",
            text("What a block of this category looks like.", "Kết quả chặn của loại này trông thế nào."),
        )],
    },
    TableOfKeys {
        title: "[profile.NAME.window.NAME]",
        what: text(
            "Hours of a profile. A child inherits its parent's windows; one of the same name takes the parent's place.",
            "Khung giờ của hồ sơ. Hồ sơ con thừa hưởng khung giờ của hồ sơ cha; trùng tên thì thay thế.",
        ),
        keys: &[
            key(
                "mode",
                "\"block\", \"allow-only\" or \"off\"",
                "\"block\"",
                "\"block\"",
                text(
                    "What it does while it is open: block its categories, or all but what the profile allows. off: without the parent's.",
                    "Khi mở thì làm gì: chặn các loại đã ghi, hoặc chặn tất cả trừ tên được phép. off: bỏ khung giờ của hồ sơ cha.",
                ),
            ),
            key(
                "categories",
                "content categories and services",
                "must be there; none with allow-only",
                "[\"games\", \"service:tiktok\"]",
                text("What it blocks while it is open.", "Chặn những gì khi mở."),
            ),
            key(
                "days",
                "of mon, tue, wed, thu, fri, sat, sun",
                "must be there",
                "[\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]",
                text(
                    "Days on which it opens; an overnight window closes on the next.",
                    "Những ngày khung giờ mở; khung giờ qua đêm đóng vào hôm sau.",
                ),
            ),
            key(
                "from",
                "time, \"00:00\" to \"23:59\"",
                "\"00:00\"",
                "\"22:00\"",
                text("When it opens, by the clock on the wall.", "Giờ mở, theo đồng hồ treo tường."),
            ),
            key(
                "to",
                "time, \"00:00\" to \"24:00\"",
                "\"24:00\"",
                "\"06:00\"",
                text(
                    "When it closes; not later than `from`: on the next day.",
                    "Giờ đóng; không muộn hơn `from` thì là hôm sau.",
                ),
            ),
            key(
                "time_zone",
                "IANA name",
                "the profile's",
                "\"Asia/Ho_Chi_Minh\"",
                text("The clock of this window.", "Múi giờ của khung giờ này."),
            ),
            key(
                "calendar",
                "path of an .ics file, or \"off\"",
                "the profile's",
                "\"lich.ics\"",
                text("Holidays and terms of this window.", "Ngày nghỉ và học kỳ của khung giờ này."),
            ),
        ],
    },
    TableOfKeys {
        title: "[client.NAME]",
        what: text(
            "Who is who: what a client says that it is goes first, then the longest prefix, then the address it asked.",
            "Ai là ai: danh tính do máy tự xưng đứng trước, rồi tiền tố dài nhất, rồi địa chỉ được hỏi.",
        ),
        keys: &[
            key(
                "networks",
                "networks",
                "ids or listeners",
                "[\"10.20.0.0/16\", \"2001:db8:20::/48\"]",
                text("Its networks; a network belongs to one client.", "Các mạng; mỗi mạng chỉ thuộc một máy hỏi."),
            ),
            key(
                "realm",
                "realm",
                "none: its networks hold in every realm",
                "\"bng-1\"",
                text("The [realm.*] that its networks are in.", "Vùng [realm.*] chứa các mạng này."),
            ),
            key(
                "ids",
                "labels or hardware addresses",
                "none",
                "[\"lop-6a\", \"a0:b1:c2:d3:e4:f5\"]",
                text(
                    "What it says that it is, from anywhere over encrypted DNS: ID.NAME, or /dns-query/ID; or in a trusted router's or proxy's word. Whoever knows one has its profile.",
                    "Danh tính tự xưng, từ bất cứ đâu qua DNS mã hóa: ID.TÊN, hay /dns-query/ID; hoặc do bộ định tuyến hay proxy đáng tin báo. Ai biết danh tính thì có hồ sơ ấy.",
                ),
            ),
            key(
                "listeners",
                "addresses without ports",
                "none",
                "[\"192.0.2.54\"]",
                text(
                    "Addresses of ours at which it asks, for those whom nothing else tells.",
                    "Địa chỉ của ta mà máy này hỏi, khi không có gì khác để nhận ra.",
                ),
            ),
            key("profile", "profile", "must be there", "\"default\"", text("What it gets.", "Hồ sơ được áp dụng.")),
            key(
                "tags",
                "words",
                "none",
                "[\"device_phone\"]",
                text("What rules with $ctag know it by.", "Nhãn mà luật có $ctag nhận biết."),
            ),
            key(
                "lines",
                "whole number, 1 to 100000",
                "1",
                "30",
                text(
                    "Subscribers behind each of its addresses: budgets of [rate_limit] times this.",
                    "Số thuê bao sau mỗi địa chỉ: ngân sách của [rate_limit] nhân lên.",
                ),
            ),
            key(
                "mode",
                "\"enforce\" or \"observe\"",
                "the profile's, else the file's",
                "\"observe\"",
                text(
                    "observe: answered as upstream does, and what would have been done is counted.",
                    "observe: trả lời như cấp trên, chỉ đếm việc lẽ ra đã làm.",
                ),
            ),
        ],
    },
    TableOfKeys {
        title: "[realm.NAME]",
        what: text(
            "Networks that use the same addresses, as 100.64.0.0/10 behind each gateway.",
            "Các mạng dùng chung dải địa chỉ, như 100.64.0.0/10 sau mỗi cổng.",
        ),
        keys: &[
            key(
                "number",
                "whole number, 1 to 65534",
                "must be there",
                "1",
                text("Its number, the same on every node.", "Số của vùng, giống nhau trên mọi nút."),
            ),
            key(
                "listeners",
                "addresses without ports",
                "none",
                "[\"192.0.2.61\"]",
                text("Addresses of ours that this realm asks at.", "Địa chỉ của ta mà vùng này hỏi."),
            ),
        ],
    },
];
