//! `healthcheck`: what a load balancer or an anycast daemon runs. 0 serve, 1 withdraw, 3 degraded or
//! unknown, because the configuration does not say whom to ask.

use std::path::Path;

use crate::cli::client::{self, Trouble};
use crate::cli::language::{Language, error_text};
use crate::cli::out::say;
use crate::cli::{AdminArgs, CANNOT_TELL, NO, YES, vietnamese};

pub fn run(config: Option<&Path>, args: &AdminArgs) -> u8 {
    let language = Language::of_user();
    let asked = client::admin_address(args.admin, config).and_then(|address| client::get(address, "/readyz", &[]));
    match asked {
        Ok((200, body)) if body.starts_with("degraded") => {
            say!("{}", in_words(language, &body));
            CANNOT_TELL
        }
        Ok((200, body)) => {
            say!("{}", in_words(language, &body));
            YES
        }
        Ok((_, body)) => {
            say!("{}", in_words(language, &body));
            NO
        }
        // Nobody was asked, so nothing is known about the node.
        Err(why @ Trouble::NoAddress(_)) => {
            say!("{}: {}", language.pick("cannot tell", "không rõ"), error_text(&why.to_string()));
            CANNOT_TELL
        }
        // A node whose resolver says nothing must not draw traffic.
        Err(why) => {
            say!("{}: {}", language.pick("withdraw", "rút khỏi phục vụ"), error_text(&why.to_string()));
            NO
        }
    }
}

/// What the resolver says of itself, a line each; scripts go by the exit code.
fn in_words(language: Language, body: &str) -> String {
    match language {
        Language::English => body.trim_end().to_owned(),
        Language::Vietnamese => body.lines().map(vietnamese::told).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_told_in_the_users_language() {
        for (body, told) in [
            ("ready\n", "sẵn sàng"),
            (
                "degraded: no upstream server answers; blocks, cache and stale answers go on\n/state/audit: the audit log is \
                 broken: line 3; `lachan audit verify` tells\n",
                "suy giảm: không máy chủ phía trên nào trả lời; vẫn chặn và vẫn trả lời từ bộ nhớ đệm, kể cả bản cũ\n\
                 /state/audit: nhật ký kiểm toán bị hỏng: line 3; `lachan audit verify` cho biết",
            ),
            ("not ready: canary.lachan.example is not blocked\n", "chưa sẵn sàng: canary.lachan.example không bị chặn"),
            (
                "not ready: what other nodes were told meanwhile is being read\n",
                "chưa sẵn sàng: đang đọc những lệnh mà các nút khác nhận trong lúc nút này vắng mặt",
            ),
            (
                "not ready: list `ads` (https://lists.example/ads): no answer; until it is, it holds nothing and this node is \
                 not ready\n",
                "chưa sẵn sàng: danh sách `ads` (https://lists.example/ads): no answer; cho đến khi đó, danh sách vẫn rỗng \
                 và nút này chưa sẵn sàng",
            ),
            (
                "not ready: list `ads` (https://lists.example/ads): it holds no rule; it waits to be approved (`lachan lists \
                 approve ads`); until it is, it holds nothing and this node is not ready\n",
                "chưa sẵn sàng: danh sách `ads` (https://lists.example/ads): không có luật nào; đang chờ phê duyệt (`lachan lists \
                 approve ads`); cho đến khi đó, danh sách vẫn rỗng và nút này chưa sẵn sàng",
            ),
        ] {
            assert_eq!(in_words(Language::Vietnamese, body), told);
            assert_eq!(in_words(Language::English, body), body.trim_end());
        }
    }
}
