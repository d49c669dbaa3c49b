//! The services that are compiled in, `blocklists/services/`: what `service:roblox` stands for.

/// A service: names that belong to it alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// As in `service:roblox`.
    pub id: &'static str,
    /// What people call it, in either language.
    pub title: &'static str,
    /// The content category that it is one of.
    pub group: &'static str,
    /// One name a line.
    pub text: &'static str,
}

const fn service(id: &'static str, title: &'static str, group: &'static str, text: &'static str) -> Service {
    Service { id, title, group, text }
}

/// Every service, group by group.
pub const SERVICES: &[Service] = &[
    service("roblox", "Roblox", "games", include_str!("../../blocklists/services/roblox.txt")),
    service(
        "garena",
        "Garena: Liên Quân, Free Fire, FC Online",
        "games",
        include_str!("../../blocklists/services/garena.txt"),
    ),
    service("free-fire", "Free Fire", "games", include_str!("../../blocklists/services/free-fire.txt")),
    service("pubg", "PUBG, PUBG Mobile", "games", include_str!("../../blocklists/services/pubg.txt")),
    service(
        "vng-games",
        "VNG Games, ZingPlay, 360Play",
        "games",
        include_str!("../../blocklists/services/vng-games.txt"),
    ),
    service("vtc-games", "VTC Game", "games", include_str!("../../blocklists/services/vtc-games.txt")),
    service("mobile-legends", "Mobile Legends", "games", include_str!("../../blocklists/services/mobile-legends.txt")),
    service("sohagame", "SohaGame", "games", include_str!("../../blocklists/services/sohagame.txt")),
    service("funtap", "Funtap", "games", include_str!("../../blocklists/services/funtap.txt")),
    service("gosu", "Gosu", "games", include_str!("../../blocklists/services/gosu.txt")),
    service("steam", "Steam", "games", include_str!("../../blocklists/services/steam.txt")),
    service("epic-games", "Epic Games, Fortnite", "games", include_str!("../../blocklists/services/epic-games.txt")),
    service(
        "riot-games",
        "Riot Games: League of Legends, Valorant",
        "games",
        include_str!("../../blocklists/services/riot-games.txt"),
    ),
    service("minecraft", "Minecraft", "games", include_str!("../../blocklists/services/minecraft.txt")),
    service("blizzard", "Blizzard, Battle.net", "games", include_str!("../../blocklists/services/blizzard.txt")),
    service(
        "supercell",
        "Supercell: Clash of Clans, Brawl Stars",
        "games",
        include_str!("../../blocklists/services/supercell.txt"),
    ),
    service("playstation", "PlayStation", "games", include_str!("../../blocklists/services/playstation.txt")),
    service("xbox", "Xbox", "games", include_str!("../../blocklists/services/xbox.txt")),
    service("nintendo", "Nintendo", "games", include_str!("../../blocklists/services/nintendo.txt")),
    service(
        "electronic-arts",
        "Electronic Arts",
        "games",
        include_str!("../../blocklists/services/electronic-arts.txt"),
    ),
    service("ubisoft", "Ubisoft", "games", include_str!("../../blocklists/services/ubisoft.txt")),
    service("hoyoverse", "HoYoverse: Genshin Impact", "games", include_str!("../../blocklists/services/hoyoverse.txt")),
    service("facebook", "Facebook, Messenger", "social", include_str!("../../blocklists/services/facebook.txt")),
    service("instagram", "Instagram", "social", include_str!("../../blocklists/services/instagram.txt")),
    service("threads", "Threads", "social", include_str!("../../blocklists/services/threads.txt")),
    service("tiktok", "TikTok", "social", include_str!("../../blocklists/services/tiktok.txt")),
    service("x", "X (Twitter)", "social", include_str!("../../blocklists/services/x.txt")),
    service("snapchat", "Snapchat", "social", include_str!("../../blocklists/services/snapchat.txt")),
    service("reddit", "Reddit", "social", include_str!("../../blocklists/services/reddit.txt")),
    service("pinterest", "Pinterest", "social", include_str!("../../blocklists/services/pinterest.txt")),
    service("vn-forums", "Voz, Tinhte, Otofun", "social", include_str!("../../blocklists/services/vn-forums.txt")),
    service("discord", "Discord", "chat", include_str!("../../blocklists/services/discord.txt")),
    service("telegram", "Telegram", "chat", include_str!("../../blocklists/services/telegram.txt")),
    service("zalo", "Zalo", "chat", include_str!("../../blocklists/services/zalo.txt")),
    service("whatsapp", "WhatsApp", "chat", include_str!("../../blocklists/services/whatsapp.txt")),
    service("viber", "Viber", "chat", include_str!("../../blocklists/services/viber.txt")),
    service("youtube", "YouTube", "video", include_str!("../../blocklists/services/youtube.txt")),
    service("netflix", "Netflix", "video", include_str!("../../blocklists/services/netflix.txt")),
    service("twitch", "Twitch", "video", include_str!("../../blocklists/services/twitch.txt")),
    service("bilibili", "Bilibili", "video", include_str!("../../blocklists/services/bilibili.txt")),
    service("iqiyi", "iQIYI", "video", include_str!("../../blocklists/services/iqiyi.txt")),
    service("fpt-play", "FPT Play", "video", include_str!("../../blocklists/services/fpt-play.txt")),
    service("vieon", "VieON", "video", include_str!("../../blocklists/services/vieon.txt")),
    service("vtv-go", "VTV Go", "video", include_str!("../../blocklists/services/vtv-go.txt")),
    service("tv360", "TV360", "video", include_str!("../../blocklists/services/tv360.txt")),
    service("mytv", "MyTV", "video", include_str!("../../blocklists/services/mytv.txt")),
    service("zing-mp3", "Zing MP3", "video", include_str!("../../blocklists/services/zing-mp3.txt")),
    service("nhaccuatui", "NhacCuaTui", "video", include_str!("../../blocklists/services/nhaccuatui.txt")),
    service("spotify", "Spotify", "video", include_str!("../../blocklists/services/spotify.txt")),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::built_in::own_entries;
    use crate::engine::category::Categories;
    use crate::engine::name::Name;

    #[test]
    fn every_service_has_names_of_its_own_and_tells_where_each_is_from() {
        let (categories, mut ids) = (Categories::built_in(), HashSet::new());
        for Service { id, title, group, text } in SERVICES {
            assert!(ids.insert(id), "{id} twice");
            assert!(categories.id(group).is_some() && !title.is_empty(), "{id}");
            assert!(id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'), "{id}");
            assert!(text.contains(&format!("service:{id}")), "{id}");
            let mut names = HashSet::new();
            for entry in own_entries(text) {
                assert!(Name::from_text(entry).is_ok_and(|name| name.label_count() > 1), "{id}: {entry}");
                assert!(names.insert(entry), "{id}: {entry} twice");
            }
            assert!(!names.is_empty(), "{id}");
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            assert!(lines.clone().all(|line| line.contains("  # ")), "{id}: a name without its provenance");
        }
    }
}
