//! `--help` in Vietnamese: every page. Texts are known by their English; a test finds those that have none here. Names of
//! commands, options and values stay as they are typed.

use clap::{Arg, Command};

/// What commands and options are about. Each stands once, wherever it is used.
const TEXTS: &[(&str, &str)] = &[
    // Commands.
    (
        "Lá Chắn: a DNS resolver that filters harmful content on the line",
        "Lá Chắn: máy phân giải tên miền lọc nội dung xấu độc trên đường truyền",
    ),
    ("Answer queries (what happens without a command)", "Trả lời truy vấn (khi không ghi lệnh nào)"),
    (
        "Read a configuration and its lists and report every mistake with file and line",
        "Đọc cấu hình và các danh sách, báo mọi lỗi kèm tệp và dòng",
    ),
    ("Say why a name is blocked, rewritten or allowed", "Cho biết vì sao một tên bị chặn, được chuyển hay được phép"),
    ("The lists: those in force, and a file of them", "Các danh sách: đang có hiệu lực, và biên dịch thành tệp"),
    (
        "Rules, age, skipped lines and errors of every list of the running resolver",
        "Số luật, tuổi, dòng bị bỏ qua và lỗi của từng danh sách trong chương trình đang chạy",
    ),
    (
        "Compile every configured list into one file, for `format = \"compiled\"` here or elsewhere",
        "Biên dịch mọi danh sách trong cấu hình thành một tệp, dùng với `format = \"compiled\"` ở đây hoặc nơi khác",
    ),
    ("Fetch lists by URL now, and say what came", "Tải ngay các danh sách có URL và cho biết kết quả"),
    (
        "Show new versions that wait, and why; exit 1 when there are some",
        "Hiện các bản mới đang chờ và lý do; mã thoát 1 khi có",
    ),
    (
        "Show what a version that waits would change, or, when none waits, what the last one changed",
        "Hiện những gì bản đang chờ sẽ thay đổi; nếu không có bản nào chờ thì hiện thay đổi của bản mới nhất",
    ),
    ("Put the version that waits into force", "Đưa bản đang chờ vào hiệu lực"),
    (
        "Go back to the version before, until `lists update` or `lists approve`",
        "Quay về bản trước, đến khi có `lists update` hoặc `lists approve`",
    ),
    ("Take a list out at once, until `lists enable`", "Tắt ngay một danh sách, đến khi có `lists enable`"),
    ("Put a list in again", "Bật lại một danh sách"),
    ("The rate limits", "Các giới hạn tần suất"),
    (
        "Show who is over a limit most often; in a dry run, who would be; exit 1 when no limit is configured",
        "Hiện ai vượt giới hạn nhiều nhất; khi chạy thử thì ai sẽ vượt; mã thoát 1 khi cấu hình không có giới hạn",
    ),
    ("Allow a name for a while", "Cho phép một tên trong một thời gian"),
    ("Deny a name for a while", "Chặn một tên trong một thời gian"),
    ("Say it for a while", "Thêm, có thời hạn"),
    ("Show those in force", "Liệt kê những gì đang có hiệu lực"),
    ("End one before its end", "Kết thúc sớm"),
    (
        "Switch content filtering and SafeSearch off for a while",
        "Tạm tắt lọc nội dung và SafeSearch trong một thời gian",
    ),
    (
        "Switch content categories and SafeSearch off for a while; orders, the operator's lists and security stay on",
        "Tạm tắt các loại nội dung và SafeSearch; yêu cầu của cơ quan có thẩm quyền, danh sách của nhà vận hành và lớp an ninh \
         vẫn bật",
    ),
    ("Legal orders", "Yêu cầu của cơ quan có thẩm quyền"),
    ("Enter an order; a second person approves it", "Nhập một yêu cầu; người thứ hai phê duyệt"),
    (
        "Enter an order with the names of an annex (.xlsx, .csv, or one a line)",
        "Nhập một yêu cầu với các tên trong phụ lục (.xlsx, .csv, hoặc mỗi dòng một tên)",
    ),
    ("Stand behind an order as the second person", "Phê duyệt một yêu cầu với tư cách người thứ hai"),
    ("Show every order", "Liệt kê mọi yêu cầu"),
    ("Show one order with all its names", "Hiện một yêu cầu với mọi tên của nó"),
    (
        "Record that the authority, or a court, took an order back",
        "Ghi nhận cơ quan có thẩm quyền, hoặc tòa án, đã thu hồi yêu cầu",
    ),
    (
        "Show what should not wait (exit 1 when there is something), or record that an order was looked at",
        "Hiện những việc không nên để chậm (mã thoát 1 khi có), hoặc ghi nhận đã kiểm tra một yêu cầu",
    ),
    (
        "Ask for every name of an order through the resolver",
        "Hỏi từng tên của một yêu cầu qua chính máy phân giải để kiểm chứng",
    ),
    ("Write the reply to the authority, as Markdown", "Viết thư trả lời cơ quan có thẩm quyền, dạng Markdown"),
    (
        "The nodes that share allows, denies, pauses, orders and decisions about lists",
        "Các nút dùng chung lệnh cho phép, chặn, tạm tắt, yêu cầu và quyết định về danh sách",
    ),
    (
        "Show every node, when it was heard of last and what it refuses; exit 1 when one is missing",
        "Hiện từng nút, lần cuối nghe tin và những gì nút từ chối; mã thoát 1 khi thiếu nút",
    ),
    ("Take a node that will not come back out of the fleet", "Bỏ một nút sẽ không trở lại"),
    ("What was answered", "Bộ nhớ đệm"),
    (
        "Forget what the cache holds of a name and all below; `.` is everything",
        "Xóa khỏi bộ nhớ đệm một tên cùng mọi tên bên dưới; `.` là tất cả",
    ),
    ("The log of changes", "Nhật ký các thay đổi"),
    (
        "Check that no octet, line or end of the log was changed; exit 1 and name the first bad line otherwise",
        "Kiểm tra nhật ký không bị sửa byte, dòng hay phần cuối nào; nếu có thì mã thoát 1 và chỉ ra dòng sai đầu tiên",
    ),
    ("Show the last changes", "Hiện các thay đổi gần nhất"),
    ("Print the public key that the log is checked with", "In khóa công khai dùng để kiểm tra nhật ký"),
    ("SafeSearch", "Tìm kiếm an toàn"),
    (
        "Ask the running resolver for every engine and print what came back",
        "Hỏi chương trình đang chạy về từng công cụ tìm kiếm và in kết quả",
    ),
    (
        "How clients are told of this resolver's encrypted service: for DHCP servers, routers, phones and PCs",
        "Cách báo cho máy khách biết dịch vụ mã hóa: máy chủ DHCP, bộ định tuyến, điện thoại, máy tính",
    ),
    ("Lines that come and go, and their profiles", "Các thuê bao thay đổi liên tục, và hồ sơ của họ"),
    (
        "How many there are, and when each feed last told something; exit 1 when there is no [subscribers]",
        "Số thuê bao, và lần cuối từng nguồn báo tin; mã thoát 1 khi không có [subscribers]",
    ),
    (
        "Show what is known of an address, a prefix or a token; exit 1 when it is nothing",
        "Hiện những gì biết về một địa chỉ, tiền tố hoặc mã băm của thuê bao; mã thoát 1 khi không biết gì",
    ),
    ("Give a prefix or a token a profile", "Gán hồ sơ cho một tiền tố hoặc mã băm của thuê bao"),
    ("Take out a prefix, or what was chosen for a token", "Bỏ một tiền tố, hoặc hồ sơ đã chọn cho một mã băm"),
    ("Load a CSV or NDJSON file", "Nạp một tệp CSV hoặc NDJSON"),
    ("Certificates", "Chứng chỉ"),
    ("Make a certificate that nobody vouches for, to try encrypted DNS with", "Tạo chứng chỉ tự ký, để thử DNS mã hóa"),
    ("Hours: the windows of profiles", "Giờ giấc: khung giờ của các hồ sơ"),
    (
        "Show which windows are open, and what opens and closes next",
        "Hiện khung giờ nào đang mở, và khung nào sắp mở, sắp đóng",
    ),
    ("Services that `block = [\"service:NAME\"]` takes", "Các dịch vụ dùng được trong `block = [\"service:TÊN\"]`"),
    ("List them, by the group that each belongs to", "Liệt kê theo nhóm"),
    ("The configuration file", "Tệp cấu hình"),
    (
        "Print every key: its type, default, unit, what it does, and an example",
        "In mọi khóa: kiểu, giá trị mặc định, đơn vị, tác dụng và ví dụ",
    ),
    (
        "Exit 0 when this node should serve, 1 when it should be withdrawn, 3 when degraded (upstream lost) or unknown",
        "Mã thoát 0 khi nút nên phục vụ, 1 khi nên rút ra, 3 khi suy giảm (mất máy chủ phía trên) hoặc không rõ",
    ),
    ("The version", "Phiên bản"),
    ("Print this message or the help of the given subcommand(s)", "In trang này hoặc trợ giúp của lệnh được ghi"),
    // Options of many commands.
    ("Print help", "In trợ giúp"),
    ("Print help (see a summary with '-h')", "In trợ giúp (bản tóm tắt: `-h`)"),
    ("Print help (see more with '--help')", "In trợ giúp (chi tiết hơn: `--help`)"),
    ("Print version", "In phiên bản"),
    (
        "Configuration file [default: $LACHAN_CONFIG, else /etc/lachan/lachan.toml when it is there, else built in]",
        "Tệp cấu hình [mặc định: $LACHAN_CONFIG, nếu không thì /etc/lachan/lachan.toml khi có, nếu không thì cấu hình có sẵn]",
    ),
    (
        "Admin address of the running resolver [default: the configuration's]",
        "Địa chỉ quản trị của chương trình đang chạy [mặc định: theo cấu hình]",
    ),
    ("Print JSON", "In ra JSON"),
    ("Who says so [default: the user]", "Ai quyết định [mặc định: tên người dùng]"),
    ("Who [default: the user]", "Ai thực hiện [mặc định: tên người dùng]"),
    ("The NAME of one [list.NAME]", "NAME của một [list.NAME]"),
    // serve, explain, lists, limits.
    (
        "Listen beside a running lachan, which is stopped next: no question is lost over a new version",
        "Mở cổng bên cạnh lachan đang chạy, rồi dừng bản kia: thay phiên bản mà không mất câu hỏi nào",
    ),
    ("A name or a URL", "Một tên miền hoặc URL"),
    ("Query type: A, AAAA, HTTPS, TYPE65, 65 …", "Loại truy vấn: A, AAAA, HTTPS, TYPE65, 65 …"),
    (
        "As this client would be answered: its address, or one of its `ids`; behind a shared address, the port it asks from tells \
         which",
        "Như máy khách này được trả lời: địa chỉ, hoặc một trong các `ids`; nếu dùng chung địa chỉ thì cổng nguồn cho biết là máy nào",
    ),
    (
        "The realm of this address, where several networks use the same ones [default: 0]",
        "Vùng (realm) của địa chỉ này, khi nhiều mạng dùng trùng địa chỉ [mặc định: 0]",
    ),
    ("As who asks this address of ours would be answered", "Như người hỏi tại địa chỉ này của chúng ta được trả lời"),
    ("As this profile would be answered", "Như hồ sơ này được trả lời"),
    ("As it would be answered at this moment", "Như được trả lời vào thời điểm này"),
    (
        "Do not ask the running resolver: compile the configuration and judge the question alone",
        "Không hỏi chương trình đang chạy: tự đọc cấu hình và chỉ xét câu hỏi",
    ),
    ("Where the file goes; it is there whole or not at all", "Tệp kết quả; hoặc được ghi trọn vẹn, hoặc không ghi gì"),
    (
        "The NAME of one [list.NAME] [default: every list with a `url`]",
        "NAME của một [list.NAME] [mặc định: mọi danh sách có `url`]",
    ),
    ("So many prefixes", "Số tiền tố"),
    // allow, deny, pause.
    ("NAME, =NAME or *.NAME", "NAME, =NAME hoặc *.NAME"),
    (
        "The name is a public suffix, as com or com.vn, and everything below it is meant",
        "Tên là hậu tố công cộng, như com hay com.vn, và đúng là muốn mọi tên bên dưới",
    ),
    ("For the clients of this profile", "Cho các máy khách thuộc hồ sơ này"),
    ("For this [client.NAME], address or network", "Cho [client.NAME], địa chỉ hoặc mạng này"),
    (
        "The realm of this network, where several use the same addresses [default: 0]",
        "Vùng (realm) của mạng này, khi nhiều mạng dùng trùng địa chỉ [mặc định: 0]",
    ),
    ("So long: 45m, 2 h, 1 day", "Trong bao lâu: 45m, 2 h, 1 day"),
    ("Until then: 17:30, or 2027-01-31T17:30:00+07:00", "Đến lúc nào: 17:30, hoặc 2027-01-31T17:30:00+07:00"),
    (
        "Until the window of the profile that is open now ends, as a lesson; of several the one by this name, else the first to \
         end",
        "Đến hết khung giờ đang mở của hồ sơ, như một tiết học; nếu có nhiều khung thì khung mang tên này, không ghi tên thì khung \
         kết thúc trước",
    ),
    (
        "For everybody; a pause without --profile and --client needs it",
        "Cho mọi người; bắt buộc khi tạm tắt mà không có --profile hay --client",
    ),
    ("Why; `explain` and the audit log tell it", "Lý do; hiện trong `explain` và nhật ký kiểm toán"),
    ("As `list` shows it", "Như `list` hiện ra"),
    // orders.
    ("The authority's own number", "Số văn bản của cơ quan có thẩm quyền"),
    ("Whose order it is", "Cơ quan ra yêu cầu"),
    ("The law that it rests on", "Căn cứ pháp lý"),
    ("The number under which another office passed it on", "Số văn bản của cơ quan chuyển tiếp"),
    ("What the names are about, for your own books", "Các tên thuộc loại gì, để tự theo dõi"),
    ("letter, electronic or phone", "Cách nhận: letter (công văn), electronic (điện tử) hoặc phone (điện thoại)"),
    ("A network that it is for [default: every client]", "Mạng phải thực hiện [mặc định: mọi máy khách]"),
    (
        "The realm of these networks, where several use the same addresses [default: all]",
        "Vùng (realm) của các mạng này, khi nhiều mạng dùng trùng địa chỉ [mặc định: mọi vùng]",
    ),
    ("When it came [default: now]", "Nhận lúc nào [mặc định: bây giờ]"),
    ("From when it acts [default: now]", "Có hiệu lực từ lúc nào [mặc định: bây giờ]"),
    ("Its last day, a time, or `open`", "Ngày cuối cùng, một thời điểm, hoặc `open` (không thời hạn)"),
    (
        "With `--expires open`: when to ask whether it still should act",
        "Cùng `--expires open`: khi nào phải rà soát xem còn duy trì hay không",
    ),
    ("Clients and the public may be told its reference", "Được cho máy khách và công chúng biết số văn bản"),
    ("SHA-256 of the letter", "SHA-256 của văn bản"),
    ("Act at once, on one person's word", "Có hiệu lực ngay khi mới một người quyết định"),
    (
        "Take URLs for their hosts: everything else there is blocked too",
        "Lấy tên máy chủ của URL: mọi nội dung khác ở đó cũng bị chặn",
    ),
    (
        "This protected name or shared platform is to be reached all the same",
        "Vẫn chặn tên được bảo vệ hoặc nền tảng dùng chung này",
    ),
    ("Only look at the lines", "Chỉ xem xét các dòng, không nhập"),
    ("Who enters it [default: the user]", "Ai nhập [mặc định: tên người dùng]"),
    ("NAME or =NAME", "NAME hoặc =NAME"),
    ("The annex", "Tệp phụ lục"),
    (
        "Title of the column with names [default: the one that has them]",
        "Tiêu đề của cột tên miền [mặc định: cột có tên miền]",
    ),
    ("The order's reference", "Số của yêu cầu"),
    ("The order's reference [default: every order]", "Số của yêu cầu [mặc định: mọi yêu cầu]"),
    (
        "As whom: `operator`, or `viewer`, who sees hashes of secret names",
        "Với vai trò nào: `operator`, hoặc `viewer`, chỉ thấy mã băm của các tên không được công bố",
    ),
    ("Whose word, and which", "Theo văn bản nào, của ai"),
    ("Record that it was sent", "Ghi nhận đã gửi"),
    ("vi or en", "Ngôn ngữ: vi hoặc en"),
    // fleet, cache, audit.
    ("Its name, or its id as `status --json` shows it", "Tên nút, hoặc id như `status --json` hiện ra"),
    (
        "The name; everything below it is forgotten too. `.` is everything",
        "Tên miền; mọi tên bên dưới cũng bị xóa. `.` là tất cả",
    ),
    (
        "One file of a log, or the directory of one [default: the state directory's]",
        "Một tệp nhật ký, hoặc thư mục của nhật ký [mặc định: trong thư mục trạng thái]",
    ),
    ("The public key", "Khóa công khai"),
    ("So many", "Số dòng"),
    (
        "The directory of a log [default: the state directory's]",
        "Thư mục của nhật ký [mặc định: trong thư mục trạng thái]",
    ),
    // dnr, tls.
    ("For Kea: DHCPv4 and DHCPv6", "Cho Kea: DHCPv4 và DHCPv6"),
    ("For dnsmasq", "Cho dnsmasq"),
    ("For ISC DHCP", "Cho ISC DHCP"),
    ("For MikroTik RouterOS", "Cho MikroTik RouterOS"),
    ("For radvd", "Cho radvd"),
    ("A configuration profile for iPhone, iPad and Mac", "Hồ sơ cấu hình cho iPhone, iPad và Mac"),
    ("What is typed into Android's Private DNS", "Nội dung nhập vào mục DNS riêng tư của Android"),
    ("Commands for Windows 11", "Các lệnh cho Windows 11"),
    ("As the client with this identity", "Dành cho máy khách có danh tính này"),
    ("The resolver's host name", "Tên máy chủ của máy phân giải"),
    ("Its addresses [default: 127.0.0.1 and ::1]", "Các địa chỉ của nó [mặc định: 127.0.0.1 và ::1]"),
    ("Directory for fullchain.pem and privkey.pem", "Thư mục chứa fullchain.pem và privkey.pem"),
    // subscribers.
    (
        "`100.64.1.2/32`, `2001:db8:20::/56`; for `get` also an address, with the port it asks from: `198.51.100.7:2048`",
        "`100.64.1.2/32`, `2001:db8:20::/56`; với `get` còn có thể là địa chỉ kèm cổng nguồn: `198.51.100.7:2048`",
    ),
    ("Ports of a shared address", "Các cổng của một địa chỉ dùng chung"),
    ("Which of several networks with the same addresses", "Vùng (realm) nào trong các mạng dùng trùng địa chỉ"),
    ("32 hexadecimal digits", "Mã băm của thuê bao: 32 chữ số hệ mười sáu"),
    ("A line's identifier, as the network tells it", "Định danh đường dây, như mạng báo"),
    (
        "What a client calls itself in a host name or a path",
        "Danh tính mà máy khách tự xưng trong tên máy chủ hoặc đường dẫn",
    ),
    (
        "File with the API's token [default: the configuration's api_token_file]",
        "Tệp chứa mã truy cập API [mặc định: api_token_file trong cấu hình]",
    ),
    ("The profile", "Hồ sơ"),
    (
        "When the entry of a prefix ends: RFC 3339, or seconds since 1970",
        "Khi nào mục của tiền tố hết hạn: RFC 3339, hoặc số giây từ 1970",
    ),
    (
        "CSV with a head (`prefix,profile`, and any of ports, realm, token, line, label, expires, remove), or NDJSON of the same \
         names when it ends in .ndjson or .jsonl",
        "CSV có dòng đầu (`prefix,profile`, và tùy ý ports, realm, token, line, label, expires, remove), hoặc NDJSON với các tên \
         ấy khi tệp có đuôi .ndjson hay .jsonl",
    ),
    (
        "The file is all there is: whom it does not name is taken out. Numbers grow; one that was used does nothing",
        "Tệp là toàn bộ: ai không có trong tệp thì bị bỏ. Số phải tăng dần; số đã dùng thì không có tác dụng",
    ),
    (
        "The file follows what is here: its number is the one after `subscribers status` tells",
        "Tệp nối tiếp những gì đang có: số của nó là số kế tiếp số mà `subscribers status` hiện ra",
    ),
    // schedule, config.
    ("At this moment instead of now", "Vào thời điểm này thay vì bây giờ"),
    ("This profile alone", "Chỉ hồ sơ này"),
    ("vi or en [default: by the locale]", "vi hoặc en [mặc định: theo ngôn ngữ hệ thống]"),
];

/// What stands below the options of a command, by the words that are typed.
const BELOW: &[(&str, &str)] = &[
    (
        "lachan",
        "\
Ví dụ:
  lachan                                              chạy với cấu hình có sẵn tại 127.0.0.1:5354
  lachan -c /etc/lachan/lachan.toml                   chạy với một cấu hình
  lachan check -c lachan.toml                         tìm mọi lỗi trong cấu hình
  lachan explain www.example.com                      vì sao một tên bị (hay không bị) chặn?
  lachan explain www.example.com -c lachan.toml       cũng vậy, hỏi chương trình chạy theo cấu hình này
  lachan safesearch test                              mọi công cụ tìm kiếm đã an toàn chưa?
  dig @127.0.0.1 -p 5354 adult.block.lachan.example   một tên vô hại bị chặn để thử

Mã thoát: 0 có, 1 không, 2 dòng lệnh sai, 3 không biết (không có chương trình chạy, không có trả lời, không biết hỏi ở đâu).",
    ),
    (
        "lachan serve",
        "\
Ví dụ:
  lachan serve -c /etc/lachan/lachan.toml
  lachan serve --take-over    phiên bản mới chạy bên cạnh bản cũ; sau đó gửi SIGTERM cho bản cũ",
    ),
    (
        "lachan explain",
        "\
Ví dụ:
  lachan explain www.pornhub.com
  lachan explain https://zalo.me/pc --client 10.20.0.7         như máy khách này được trả lời
  lachan explain example.com --to 192.0.2.54                   như người hỏi tại địa chỉ này của chúng ta được trả lời
  lachan explain example.com --profile school --type AAAA      như hồ sơ này được trả lời
  lachan explain roblox.com --profile school --at 2026-11-27T22:00:00+07:00
  lachan explain example.com --json                            cho chương trình khác đọc
  lachan explain example.com --offline -c lachan.toml          tự đọc cấu hình thay vì hỏi chương trình đang chạy",
    ),
    (
        "lachan lists update",
        "\
Ví dụ:
  lachan lists update          mọi danh sách có `url`
  lachan lists update adult    danh sách này

Tệp không cần cập nhật: thay đổi được tự động nhận.",
    ),
    (
        "lachan lists review",
        "Bản mới của một danh sách phải chờ khi nó chặn các tên phổ biến, chặn nhiều tên mà người dùng hay hỏi, hoặc co lại hay phình ra \
         quá nhiều ([gate] trong cấu hình). Trong khi chờ, bản tốt gần nhất vẫn phục vụ.",
    ),
    (
        "lachan limits top",
        "Tiền tố là một địa chỉ (IPv6: /64), hoặc mạng /24 (/56) chứa nó. Lượt trượt (miss) là câu hỏi phải hỏi máy chủ phía trên; số \
         byte là phần câu trả lời vượt 1,5 lần câu hỏi. Số liệu chỉ nằm trong bộ nhớ. Đặt giới hạn trong [rate_limit], và `lines` của \
         [client.*] có nhiều thuê bao sau một địa chỉ.",
    ),
    ("lachan allow add", WORDS_BELOW),
    ("lachan deny add", WORDS_BELOW),
    (
        "lachan orders add",
        "\
Ví dụ:
  lachan orders add --reference 2898/A05-P5 --authority \"Bộ Công an, A05\" --legal-basis \"NĐ 147/2024/NĐ-CP\" --expires 2027-12-31 \
         bad.example =only.this.example

Một tên nghĩa là chính nó và mọi tên bên dưới; =NAME là riêng tên đó. --act-now cho yêu cầu có hiệu lực ngay khi mới một người quyết \
         định, chờ người thứ hai phê duyệt; yêu cầu qua điện thoại tự như vậy.",
    ),
    (
        "lachan audit verify",
        "Khóa công khai nằm cạnh nhật ký (audit/key.pub); ai ghi được vào đó có thể thay cả hai, vì vậy hãy giữ một bản ở nơi khác và \
         đưa vào bằng --key.",
    ),
    (
        "lachan dnr",
        "\
Ví dụ:
  lachan dnr -c lachan.toml                         mọi dạng
  lachan dnr --kea -c lachan.toml                   một trong các dạng
  lachan dnr --ios -c lachan.toml > dns.mobileconfig
  lachan dnr --android --client lop-6a              cho máy khách có danh tính này trong `ids`

Tên là `name` trong [tls], nếu không thì tên trong chứng chỉ; địa chỉ là `addresses` trong [tls], nếu không thì `dns` trong [listen].",
    ),
    (
        "lachan subscribers",
        "\
Ví dụ:
  lachan subscribers set 100.64.1.2/32 --profile family
  lachan subscribers set --line 'olt-7/3/12' --profile unfiltered
  lachan subscribers get 198.51.100.7:2048                     ai hỏi từ đó?
  lachan subscribers load lines.csv --snapshot 20270131        toàn bộ sổ của nhà mạng
  lachan subscribers status

Cần api_token_file trong [subscribers] của cấu hình.",
    ),
    (
        "lachan tls self-signed",
        "\
Ví dụ:
  lachan tls self-signed --name dns.example.vn -o tls
  kdig @127.0.0.1 -p 8853 +tls +tls-ca=tls/fullchain.pem +tls-hostname=dns.example.vn vnexpress.net

Phần in ra dùng cho tệp cấu hình. Chứng chỉ cho thiết bị của người dùng phải do tổ chức mà thiết bị tin cậy cấp.",
    ),
    (
        "lachan schedule show",
        "\
Ví dụ:
  lachan schedule show -c lachan.toml
  lachan schedule show --profile school --at 2026-11-27T22:00:00+07:00

Lệnh đọc cấu hình, không hỏi chương trình nào.",
    ),
];

const WORDS_BELOW: &str = "\
Ví dụ:
  lachan allow add zalo.me --profile school --for 45m --reason \"tiết 5, lớp 7A\"
  lachan deny add =www.example.com --until 17:30 --reason \"phiếu 4711\"
  lachan allow add zalo.me --profile school --until-window --reason \"tiết này\"

Một tên nghĩa là chính nó và mọi tên bên dưới; =NAME là riêng tên đó; *.NAME là mọi tên bên dưới. Không có --profile và --client thì áp \
dụng cho mọi người và đứng trên các danh sách an ninh; cho một hồ sơ hay máy khách thì đứng dưới.";

const ABOUT: &str = "\
Lá Chắn là máy phân giải tên miền cho trường học và nhà mạng: chuyển tiếp câu hỏi, chặn tên xấu độc, bật tìm kiếm an toàn và cho \
người dùng biết vì sao.";

/// Every page of `--help`.
pub fn pages(mut command: Command) -> Command {
    // What clap adds by itself — `help`, `--help`, `--config` of each command — is there then.
    command.build();
    let name = command.get_name().to_owned();
    page(command, &name).long_about(ABOUT)
}

/// The page of a command, and of those below it.
fn page(command: Command, typed: &str) -> Command {
    let mut command = command.mut_args(argument);
    if let Some(about) = command.get_about().and_then(|about| text(&about.to_string())) {
        command = command.about(about);
    }
    if let Some((_, below)) = BELOW.iter().find(|(of, _)| *of == typed) {
        command = command.after_help(*below);
    }
    let template = template(&mut command);
    command.help_template(template).mut_subcommands(|inner| {
        let typed = format!("{typed} {}", inner.get_name());
        // Below `help` is every command once more.
        if inner.get_name() == "help" { named(inner) } else { page(inner, &typed) }
    })
}

fn named(command: Command) -> Command {
    match command.get_about().and_then(|about| text(&about.to_string())) {
        Some(about) => command.about(about),
        None => command,
    }
}

fn text(english: &str) -> Option<&'static str> {
    TEXTS.iter().find(|(known, _)| *known == english).map(|(_, vietnamese)| *vietnamese)
}

/// With what clap would add in English: default and possible values.
fn argument(mut arg: Arg) -> Arg {
    if let Some(longer) = arg.get_long_help().and_then(|help| text(&help.to_string())) {
        arg = arg.long_help(longer);
    }
    let Some(help) = arg.get_help().and_then(|help| text(&help.to_string())) else { return arg };
    let mut help = help.to_owned();
    if arg.get_action().takes_values() {
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !default.is_empty() {
            help.push_str(&format!(" [mặc định: {}]", default.join(", ")));
        }
        let possible = arg.get_possible_values();
        if !possible.is_empty() {
            let names: Vec<&str> = possible.iter().map(|value| value.get_name()).collect();
            help.push_str(&format!(" [giá trị: {}]", names.join(", ")));
        }
    }
    arg.help(help).hide_default_value(true).hide_possible_values(true)
}

/// The parts of a page in clap's order, under heads of our own.
fn template(command: &mut Command) -> String {
    let usage = usage(&command.render_usage().to_string());
    let style = *command.get_styles().get_header();
    let head = |name: &str| format!("{style}{name}:{style:#}");
    let mut template = format!("{{about-with-newline}}\n{} {usage}\n\n", head("Cách dùng"));
    let mut parts = Vec::new();
    if command.has_subcommands() {
        parts.push(format!("{}\n{{subcommands}}", head("Lệnh")));
    }
    if command.get_positionals().next().is_some() {
        parts.push(format!("{}\n{{positionals}}", head("Đối số")));
    }
    parts.push(format!("{}\n{{options}}", head("Tùy chọn")));
    template.push_str(&parts.join("\n\n"));
    template.push_str("{after-help}");
    template
}

/// What clap says of how a command is used, without its head.
pub(super) fn usage(english: &str) -> String {
    let usage = english.trim_start_matches("Usage:").trim();
    usage.replace("[OPTIONS]", "[TÙY CHỌN]").replace("[COMMAND]", "[LỆNH]").replace("<COMMAND>", "<LỆNH>")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    /// Gives every command to `seen`, with the words that are typed.
    fn each(command: &Command, typed: &str, seen: &mut dyn FnMut(&str, &Command)) {
        seen(typed, command);
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            each(inner, &format!("{typed} {}", inner.get_name()), seen);
        }
    }

    #[test]
    fn every_command_and_option_has_its_text_and_no_text_is_left_over() {
        let mut english = crate::cli::Cli::command();
        english.build();
        let (mut texts, mut below) = (BTreeSet::new(), BTreeSet::new());
        each(&english, "lachan", &mut |typed, command| {
            let help = command.get_subcommands().find(|inner| inner.get_name() == "help");
            texts.extend([Some(command), help].into_iter().flatten().filter_map(|c| Some(c.get_about()?.to_string())));
            let helps = command.get_arguments().flat_map(|arg| [arg.get_help(), arg.get_long_help()]);
            texts.extend(helps.flatten().map(ToString::to_string));
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{typed} {}: it says nothing of itself", arg.get_id());
            }
            assert!(typed == "lachan" || command.get_long_about().is_none(), "{typed}: it has a longer text");
            assert!(command.get_after_long_help().is_none() && command.get_before_help().is_none(), "{typed}");
            if command.get_after_help().is_some() {
                below.insert(typed.to_owned());
            }
        });
        let known: BTreeSet<String> = TEXTS.iter().map(|(english, _)| (*english).to_owned()).collect();
        assert_eq!(known.len(), TEXTS.len(), "a text stands twice");
        assert_eq!(texts.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "without a text in Vietnamese");
        assert_eq!(known.difference(&texts).collect::<Vec<_>>(), Vec::<&String>::new(), "said nowhere any more");
        let known: BTreeSet<String> = BELOW.iter().map(|(typed, _)| (*typed).to_owned()).collect();
        assert_eq!(below, known);
    }

    #[test]
    fn every_page_is_vietnamese() {
        let english = [
            "Usage",
            "Options",
            "Commands",
            "Arguments",
            "Examples",
            "OPTIONS",
            "COMMAND",
            "Print",
            "default",
            "possible",
        ];
        let mut pages = Vec::new();
        each(&pages_of_all(), "lachan", &mut |typed, command| pages.push((typed.to_owned(), command.clone())));
        assert!(pages.len() > 50, "{} pages", pages.len());
        for (typed, mut command) in pages {
            for page in [command.render_help().to_string(), command.render_long_help().to_string()] {
                assert!(
                    page.contains(&format!("Cách dùng: {typed}")) && page.contains("Tùy chọn:\n"),
                    "{typed}: {page}"
                );
                assert_eq!(page.contains("\nLệnh:\n"), command.has_subcommands(), "{typed}: {page}");
                assert_eq!(page.contains("\nĐối số:\n"), command.get_positionals().next().is_some(), "{typed}: {page}");
                assert!(page.contains("In trợ giúp"), "{typed}: {page}");
                let words: Vec<&str> = page.split(|c: char| !c.is_alphabetic()).collect();
                let left: Vec<_> = english.iter().filter(|word| words.contains(word)).collect();
                assert!(left.is_empty(), "{typed}: {left:?}: {page}");
            }
        }
    }

    fn pages_of_all() -> Command {
        pages(crate::cli::Cli::command())
    }

    #[test]
    fn a_page_stands_as_clap_would_order_it() {
        let page = pages_of_all();
        let mut show =
            page.find_subcommand("orders").and_then(|orders| orders.find_subcommand("show")).unwrap().clone();
        let expected = "\
Hiện một yêu cầu với mọi tên của nó

Cách dùng: lachan orders show [TÙY CHỌN] <REF>

Đối số:
  <REF>  Số của yêu cầu

Tùy chọn:
  -c, --config <FILE>      Tệp cấu hình [mặc định: $LACHAN_CONFIG, nếu không thì /etc/lachan/lachan.toml khi có, nếu không thì cấu hình có sẵn]
      --role <ROLE>        Với vai trò nào: `operator`, hoặc `viewer`, chỉ thấy mã băm của các tên không được công bố [mặc định: operator] [giá trị: operator, viewer]
      --admin <ADDR:PORT>  Địa chỉ quản trị của chương trình đang chạy [mặc định: theo cấu hình]
      --json               In ra JSON
  -h, --help               In trợ giúp
";
        assert_eq!(show.render_help().to_string().trim_end(), expected.trim_end());
    }

    #[test]
    fn arguments_mean_in_vietnamese_what_they_mean_in_english() {
        for words in [
            &["lachan", "-c", "a.toml", "check"][..],
            &["lachan", "orders", "show", "1/A05", "--role", "viewer", "--json"],
            &["lachan", "limits", "top", "-n", "7"],
            &["lachan", "allow", "add", "a.example", "--for", "1h", "--reason", "x", "-c", "b.toml"],
            &["lachan", "orders", "show"],
            &["lachan", "orders", "letter", "1", "--lang", "fr"],
            &["lachan", "help", "orders", "show"],
        ] {
            let english = crate::cli::Cli::command().try_get_matches_from(words);
            let vietnamese = pages_of_all().try_get_matches_from(words);
            match (english, vietnamese) {
                (Ok(english), Ok(vietnamese)) => assert_eq!(english, vietnamese, "{words:?}"),
                (Err(english), Err(vietnamese)) => assert_eq!(english.kind(), vietnamese.kind(), "{words:?}"),
                (english, vietnamese) => panic!("{words:?}: {english:?}, {vietnamese:?}"),
            }
        }
    }
}
