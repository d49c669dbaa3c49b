//! Who types: the name that goes into the audit log.

/// As given, else the user's: of whoever became root by sudo, their own.
pub fn by(given: Option<&str>) -> String {
    let told = ["SUDO_USER", "LOGNAME", "USER"].into_iter().filter_map(|key| std::env::var(key).ok());
    let told = given.map(str::to_owned).into_iter().chain(told).find(|name| !name.trim().is_empty());
    told.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_always_named() {
        assert_eq!(by(Some("Cô Lan")), "Cô Lan");
        assert!(!by(Some(" ")).trim().is_empty() && !by(None).trim().is_empty());
    }
}
