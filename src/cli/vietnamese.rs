//! What is written in English elsewhere, for people whose locale is Vietnamese: `--help` ([`help`]), errors of the
//! command line ([`syntax`]), and the errors that people meet most often. What is not here stays English, as README says.
//!
//! The running resolver says its errors in English, because it does not know who reads them; here they are known by their
//! form. A sentence that was changed there and not here is told as it is: nothing gets lost but the translation.

mod help;
mod syntax;

pub use help::pages;
pub use syntax::Vietnamese;

/// Sentences with `{}` where something stands, and the same in Vietnamese, with the same things in the same order.
const SENTENCES: &[(&str, &str)] = &[
    ("there is no profile `{}`; there are {}", "không có hồ sơ `{}`; hiện có: {}"),
    ("there is no profile `{}`; there are: {}", "không có hồ sơ `{}`; hiện có: {}"),
    ("there is no list `{}`; there are {}", "không có danh sách `{}`; hiện có: {}"),
    ("there is no order `{}`; there are {}", "không có yêu cầu `{}`; hiện có: {}"),
    ("order {} is there already", "yêu cầu {} đã có"),
    (
        "`{}` is no address, no network, and there is no [client.{}]",
        "`{}` không phải địa chỉ, không phải mạng, và không có [client.{}]",
    ),
    (
        "no client has the identity `{}`, and no subscriber that is known here",
        "không máy nào có danh tính `{}`, và không thuê bao nào ở đây có danh tính đó",
    ),
    (
        "no [client.*] has `{}` among its `ids`, and no subscriber has it",
        "không [client.*] hay thuê bao nào có danh tính `{}`",
    ),
    ("no [client.*] has `{}` among its `ids`", "không [client.*] nào có `{}` trong `ids`"),
    ("{} is no name: {}", "{} không phải tên miền: {}"),
    ("a name is empty", "tên miền trống"),
    ("a label is empty (two dots in a row?)", "có nhãn trống (hai dấu chấm liền nhau?)"),
    ("a label is {} octets, at most {}", "có nhãn dài {} octet, tối đa {}"),
    ("the name is {} octets, at most {}", "tên miền dài {} octet, tối đa {}"),
    ("{} cannot stand in a host name", "{} không được có trong tên miền"),
    ("not a valid internationalised name", "không phải tên miền quốc tế hóa hợp lệ"),
    (
        "unknown type {}; A, AAAA, HTTPS, MX, TXT … or a number, such as 65",
        "không biết kiểu bản ghi {}; hãy ghi A, AAAA, HTTPS, MX, TXT … hoặc một số, như 65",
    ),
    ("{} is no time; write {}", "{} không phải thời điểm; hãy viết {}"),
    ("{} is no moment: write it as {}", "{} không phải thời điểm: hãy viết như {}"),
    ("{} is no duration{}", "{} không phải khoảng thời gian{}"),
    ("it would end at {}, which is past", "như vậy sẽ kết thúc lúc {}, đã qua rồi"),
    (
        "it would end at {}, at most {} days from now; what is to last longer belongs into the configuration",
        "như vậy sẽ kết thúc lúc {}, lâu nhất là {} ngày kể từ bây giờ; lâu hơn thì ghi vào cấu hình",
    ),
    ("say when it ends: {}", "hãy cho biết khi nào kết thúc: {}"),
    ("say either `--for` or `--until`, not both", "chỉ dùng một trong hai: `--for` hoặc `--until`"),
    ("say one of `--for`, `--until` and `--until-window`", "chỉ dùng một: `--for`, `--until` hoặc `--until-window`"),
    (
        "`--until-window` goes by the windows of a profile: say `--profile` or `--client`",
        "`--until-window` tính theo khung giờ của hồ sơ: hãy ghi `--profile` hoặc `--client`",
    ),
    ("profile `{}` has no window; say {}", "hồ sơ `{}` không có khung giờ; hãy ghi {}"),
    ("profile `{}` has no window `{}`; there are {}", "hồ sơ `{}` không có khung giờ `{}`; hiện có: {}"),
    (
        "{} is a public suffix: everything registered below it would be meant; say so with {}, or write {} for the name alone",
        "{} là hậu tố công cộng: mọi tên đăng ký bên dưới đều bị ảnh hưởng; nếu đúng ý thì ghi {}, hoặc viết {} cho riêng tên đó",
    ),
    (
        "this would pause content filtering and SafeSearch for everybody: say whom it is for with {}, or say {}",
        "như vậy là tạm tắt lọc nội dung và SafeSearch cho mọi người: hãy ghi dành cho ai bằng {}, hoặc ghi {}",
    ),
    ("no {} {} is in force", "không có {} {} đang có hiệu lực"),
    ("{} entered order {}: a second person approves it", "{} đã nhập yêu cầu {}: cần người thứ hai phê duyệt"),
    ("{} approved order {} already", "{} đã phê duyệt yêu cầu {}"),
    (
        "no version of list `{}` before the one in force is kept",
        "không còn giữ bản nào của danh sách `{}` trước bản đang có hiệu lực",
    ),
    (
        "list `{}` is built in and changes with the program alone, so there is no version to go back to; {} takes it out",
        "danh sách `{}` có sẵn trong chương trình và chỉ đổi cùng chương trình nên không có bản trước; {} để tắt",
    ),
    (
        "the audit log cannot be written, so nothing was changed: {}",
        "không ghi được nhật ký kiểm toán nên chưa thay đổi gì: {}",
    ),
    ("there is no [subscribers] in the configuration", "cấu hình không có [subscribers]"),
    ("the API needs `api_token_file` in [subscribers]", "API cần `api_token_file` trong [subscribers]"),
    ("the token of `api_token_file` is needed: {}", "cần mã truy cập của `api_token_file`: {}"),
    ("there is no search engine `{}`{}", "không có công cụ tìm kiếm `{}`{}"),
    ("unknown key {} in {}; did you mean {}", "không có khóa {} trong {}; có phải ý bạn là {}"),
    ("unknown key {} in {}; known: {}", "không có khóa {} trong {}; có các khóa: {}"),
    ("unknown key {}; did you mean {}", "không có khóa {}; có phải ý bạn là {}"),
    ("unknown key {}; known: {}", "không có khóa {}; có các khóa: {}"),
    (
        "unknown key {}; it belongs above the first [table] of the file",
        "khóa {} phải đứng trên [bảng] đầu tiên của tệp",
    ),
    ("{} has undeclared profile `{}`; did you mean {}", "{} có hồ sơ chưa khai báo `{}`; có phải ý bạn là {}"),
    ("{} has undeclared profile `{}`; known: {}", "{} có hồ sơ chưa khai báo `{}`; hiện có: {}"),
    ("{}: undeclared category `{}`; did you mean {}", "{}: loại chưa khai báo `{}`; có phải ý bạn là {}"),
    ("{}: undeclared category `{}`; known: {}", "{}: loại chưa khai báo `{}`; hiện có: {}"),
    (
        "there is no [list.*]: profiles block no category, and no malware either; add {}",
        "chưa có [list.*]: các hồ sơ không chặn loại nội dung nào, cũng không chặn mã độc; hãy thêm {}",
    ),
    (
        "{} blocks `{}`, but no [list.*] has this category; add {}",
        "{} chặn `{}` nhưng không [list.*] nào thuộc loại này; hãy thêm {}",
    ),
    (
        "profile `{}` blocks {} as it is shipped, but no [list.*] has these categories; add {}",
        "hồ sơ có sẵn `{}` chặn {} nhưng không [list.*] nào thuộc các loại này; hãy thêm {}",
    ),
    ("cannot listen on {}: {}", "không mở được cổng {}: {}"),
    ("Permission denied (os error 13)", "không có quyền (os error 13)"),
    ("No such file or directory (os error 2)", "không có tệp hoặc thư mục này (os error 2)"),
    ("Address already in use (os error 98)", "địa chỉ đang được dùng (os error 98)"),
    ("Connection refused (os error 111)", "kết nối bị từ chối (os error 111)"),
    // A socket's own timer says so.
    ("Resource temporarily unavailable (os error 11)", "hết thời gian chờ (os error 11)"),
    // `/readyz`.
    ("ready", "sẵn sàng"),
    ("not ready: {} is not blocked", "chưa sẵn sàng: {} không bị chặn"),
    ("not ready: {}", "chưa sẵn sàng: {}"),
    (
        "what other nodes were told meanwhile is being read",
        "đang đọc những lệnh mà các nút khác nhận trong lúc nút này vắng mặt",
    ),
    (
        "degraded: no upstream server answers; blocks, cache and stale answers go on",
        "suy giảm: không máy chủ phía trên nào trả lời; vẫn chặn và vẫn trả lời từ bộ nhớ đệm, kể cả bản cũ",
    ),
    (
        "the audit log is broken: {}; `lachan audit verify` tells",
        "nhật ký kiểm toán bị hỏng: {}; `lachan audit verify` cho biết",
    ),
    (
        "the audit log cannot be kept, and nothing is written down: {}",
        "không giữ được nhật ký kiểm toán nên không ghi gì: {}",
    ),
    // Lists that are not at the version that came.
    (
        "list `{}` ({}): {}; its last good version stays in force",
        "danh sách `{}` ({}): {}; bản tốt gần nhất vẫn có hiệu lực",
    ),
    (
        "list `{}` ({}): {}; until it is, it holds nothing and this node is not ready",
        "danh sách `{}` ({}): {}; cho đến khi đó, danh sách vẫn rỗng và nút này chưa sẵn sàng",
    ),
    (
        "list `{}` ({}): {}; until it is, it holds nothing (required = false)",
        "danh sách `{}` ({}): {}; cho đến khi đó, danh sách vẫn rỗng (required = false)",
    ),
    (
        "list `{}` ({}): {}; it has no good version and is required",
        "danh sách `{}` ({}): {}; chưa có bản tốt nào mà danh sách là bắt buộc",
    ),
    (
        "list `{}` ({}): {}; it has no good version and holds nothing (required = false)",
        "danh sách `{}` ({}): {}; chưa có bản tốt nào nên danh sách rỗng (required = false)",
    ),
    ("{}; it waits to be approved (`lachan lists approve {}`)", "{}; đang chờ phê duyệt (`lachan lists approve {}`)"),
    // Why a version waits, or what was warned of when a person took it.
    ("it hits {} name that should not be blocked (at most {}): {}", "chặn {} tên miền không nên chặn (tối đa {}): {}"),
    ("it hits {} names that should not be blocked (at most {}): {}", "chặn {} tên miền không nên chặn (tối đa {}): {}"),
    ("it hits {} popular name (at most {}): {}", "chặn {} tên miền phổ biến (tối đa {}): {}"),
    ("it hits {} popular names (at most {}): {}", "chặn {} tên miền phổ biến (tối đa {}): {}"),
    (
        "it would block {} of what was asked and answered since yesterday (at most {})",
        "sẽ chặn {} số truy vấn được trả lời từ hôm qua (tối đa {})",
    ),
    ("it shrinks from {} to {} rules, by {} (at most {})", "giảm từ {} xuống {} luật, tức {} (tối đa {})"),
    ("it grows from {} to {} rules, by {} (at most {})", "tăng từ {} lên {} luật, tức {} (tối đa {})"),
    ("it holds no rule any more, {} before", "không còn luật nào, trước đó có {}"),
    ("it holds no rule", "không có luật nào"),
    (
        "the list is pinned to the version in force by `lists rollback`",
        "danh sách đang giữ ở bản có hiệu lực do `lists rollback`",
    ),
    // What cannot be read of a command line; the rest of such an error is in `syntax`.
    ("invalid socket address syntax", "không phải ĐỊA_CHỈ:CỔNG"),
    ("invalid IP address syntax", "không phải địa chỉ IP"),
    ("invalid digit found in string", "không phải số"),
    ("cannot parse integer from empty string", "thiếu số"),
    ("number too large to fit in target type", "số quá lớn"),
    ("{} is not in {}..={}", "{} không nằm trong {}..={}"),
    ("an identity is 1 to 63 letters, digits and hyphens", "danh tính gồm 1 đến 63 chữ cái, chữ số và dấu gạch nối"),
    (
        "{} is no address and no identity; write 10.20.0.7, 10.20.0.7:40000 or one of the `ids`, as lop-6a",
        "{} không phải địa chỉ, không phải danh tính; hãy viết 10.20.0.7, 10.20.0.7:40000 hoặc một trong các `ids`, như lop-6a",
    ),
    ("to pass '{}' as a value, use '{}'", "để dùng '{}' làm giá trị, hãy viết '{}'"),
    (
        "subcommand '{}' exists; to use it, remove the '{}' before it",
        "có lệnh con '{}'; để dùng, hãy bỏ '{}' đứng trước",
    ),
];

/// A sentence in Vietnamese, as a whole or behind what stands before it (`lachan.toml:12: `); as it is when it is not known.
pub fn told(text: &str) -> String {
    if let Some(told) = SENTENCES.iter().find_map(|(english, vietnamese)| translated(text, english, vietnamese)) {
        return told;
    }
    match text.split_once(": ") {
        Some((before, rest)) => format!("{before}: {}", told(rest)),
        None => text.to_owned(),
    }
}

fn translated(text: &str, english: &str, vietnamese: &str) -> Option<String> {
    let mut parts = english.split("{}");
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut things = Vec::new();
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        // What stands last goes to the end of the sentence.
        let at = if parts.peek().is_none() { rest.strip_suffix(part)?.len() } else { rest.find(part)? };
        things.push(&rest[..at]);
        rest = &rest[at + part.len()..];
    }
    if !rest.is_empty() {
        return None;
    }
    let mut out = String::new();
    for (i, part) in vietnamese.split("{}").enumerate() {
        if let Some(thing) = i.checked_sub(1).and_then(|i| things.get(i)) {
            // It may be a sentence of its own: why a list waits, what the system says.
            out.push_str(&told(thing));
        }
        out.push_str(part);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_known_by_their_form() {
        for (english, vietnamese) in SENTENCES {
            assert_eq!(english.matches("{}").count(), vietnamese.matches("{}").count(), "{english}");
            let filled = english.replace("{}", "x");
            assert_eq!(told(&filled), vietnamese.replace("{}", "x"), "{english}");
        }
        for (english, vietnamese) in [
            ("there is no profile `lop`; there are default, school", "không có hồ sơ `lop`; hiện có: default, school"),
            (
                "a.toml:3: unknown key `blok` in [profile.a]; did you mean `block`?",
                "a.toml:3: không có khóa `blok` trong [profile.a]; có phải ý bạn là `block`?",
            ),
            (
                "cannot listen on 0.0.0.0:53: Permission denied (os error 13)",
                "không mở được cổng 0.0.0.0:53: không có quyền (os error 13)",
            ),
            ("/x/y: No such file or directory (os error 2)", "/x/y: không có tệp hoặc thư mục này (os error 2)"),
            ("something new: and more", "something new: and more"),
            ("", ""),
        ] {
            assert_eq!(told(english), vietnamese, "{english}");
        }
    }
}
