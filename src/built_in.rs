//! Files of `blocklists/` that are compiled in, so that the program works with no file beside it.
//!
//! Only their text: what a list means is decided where every other list is read. The harmless test names
//! (`adult.block.lachan.example`) are in none of them; they are made from the categories' names.

pub mod services;

pub use services::Service;

/// Name and text of each starter list. A list has the name of its category, except `canary`.
const STARTERS: &[(&str, &str)] = &[
    ("malware", include_str!("../blocklists/malware.txt")),
    ("phishing", include_str!("../blocklists/phishing.txt")),
    ("scam", include_str!("../blocklists/scam.txt")),
    ("botnet", include_str!("../blocklists/botnet.txt")),
    ("cryptomining", include_str!("../blocklists/cryptomining.txt")),
    ("adult", include_str!("../blocklists/adult.txt")),
    ("gambling", include_str!("../blocklists/gambling.txt")),
    ("violence", include_str!("../blocklists/violence.txt")),
    ("drugs", include_str!("../blocklists/drugs.txt")),
    ("self-harm", include_str!("../blocklists/self-harm.txt")),
    ("dating", include_str!("../blocklists/dating.txt")),
    ("games", include_str!("../blocklists/games.txt")),
    ("social", include_str!("../blocklists/social.txt")),
    ("video", include_str!("../blocklists/video.txt")),
    ("chat", include_str!("../blocklists/chat.txt")),
    ("piracy", include_str!("../blocklists/piracy.txt")),
    ("ads", include_str!("../blocklists/ads.txt")),
    ("bypass", include_str!("../blocklists/bypass.txt")),
    ("canary", include_str!("../blocklists/canary.txt")),
];

/// Names of the starter lists, those of the security layer first.
pub const STARTER_LISTS: &[&str] = &{
    let mut names = [""; STARTERS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = STARTERS[i].0;
        i += 1;
    }
    names
};

/// Every service that `service:NAME` may stand for.
pub fn services() -> impl Iterator<Item = &'static Service> {
    services::SERVICES.iter()
}

/// The text of a starter list or of a service (`service:roblox`), one name a line; `None` if there is none of this name.
pub fn starter_list(name: &str) -> Option<&'static str> {
    if let Some(id) = name.strip_prefix("service:") {
        return services().find(|service| service.id == id).map(|service| service.text);
    }
    STARTERS.iter().find(|(known, _)| *known == name).map(|&(_, text)| text)
}

/// Names that no list reaches, one entry a line as in `[operator]`; `#` begins a comment.
pub fn protected() -> &'static str {
    include_str!("../blocklists/protected.txt")
}

/// Names that no list of a content category reaches; written as [`protected`].
pub fn protected_content() -> &'static str {
    include_str!("../blocklists/protected_content.txt")
}

/// What machines need to work at all; written as [`protected`].
pub fn infrastructure() -> &'static str {
    include_str!("../blocklists/infrastructure.txt")
}

/// Names by which machines see whether they are online; written as [`protected`].
pub fn connectivity() -> &'static str {
    include_str!("../blocklists/connectivity.txt")
}

/// Names that a new version of a list should not begin to block, one a line; `#` begins a comment.
pub fn must_not_block() -> &'static str {
    include_str!("../blocklists/must_not_block.txt")
}

/// The SafeSearch table, for [`SafeSearch::from_csv`](crate::engine::safe_search::SafeSearch::from_csv).
pub fn safe_search_csv() -> &'static str {
    include_str!("../blocklists/safe_search.csv")
}

/// The entries of a file in our own grammar: lines without comments and blanks.
pub fn own_entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
}
