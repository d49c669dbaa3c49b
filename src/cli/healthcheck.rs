//! `healthcheck`: what a load balancer or an anycast daemon runs. 0 serve, 1 withdraw, 3 degraded or
//! unknown, because the configuration does not say whom to ask.

use std::path::Path;

use crate::cli::client::{self, Trouble};
use crate::cli::language::{Language, error_text};
use crate::cli::out::say;
use crate::cli::{AdminArgs, CANNOT_TELL, NO, YES};

pub fn run(config: Option<&Path>, args: &AdminArgs) -> u8 {
    let language = Language::of_user();
    let asked = client::admin_address(args.admin, config).and_then(|address| client::get(address, "/readyz", &[]));
    match asked {
        Ok((200, body)) if body.starts_with("degraded") => {
            say!("{}", body.trim_end());
            CANNOT_TELL
        }
        Ok((200, body)) => {
            say!("{}", body.trim_end());
            YES
        }
        Ok((_, body)) => {
            say!("{}", body.trim_end());
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
