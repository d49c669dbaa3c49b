//! Whether two names of people are one person's: two stand behind an order.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Whether two names are one person's: case and spaces do not make another one.
pub fn is_same_person(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    plain(a) == plain(b)
}

/// Whether two names read as one person's: neither does how an accent is written (Unicode's NFKC), nor letters of other scripts that
/// look like Latin ones. Asked when an order is approved; what is in force stays so.
pub fn may_be_same_person(a: &str, b: &str) -> bool {
    let composed = ComposingNormalizerBorrowed::new_nfkc();
    let (mut a, mut b) = (a.split_whitespace(), b.split_whitespace());
    loop {
        match [a.next(), b.next()] {
            [None, None] => return true,
            [Some(a), Some(b)] => {
                let [a, b] = [a, b].map(|word| {
                    let plain = composed.normalize_iter(word.chars().flat_map(char::to_lowercase));
                    plain.map(latin_alike)
                });
                if !a.eq(b) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// The Latin letter that a small one of the Greek or the Cyrillic script is taken for when it is read, or was in its large form.
fn latin_alike(c: char) -> char {
    const ALIKE: [(&str, char); 17] = [
        ("аα", 'a'),
        ("вβ", 'b'),
        ("с", 'c'),
        ("ԁ", 'd'),
        ("еε", 'e'),
        ("нһη", 'h'),
        ("іι", 'i'),
        ("ј", 'j'),
        ("кκ", 'k'),
        ("мμ", 'm'),
        ("ν", 'n'),
        ("оο", 'o'),
        ("рρ", 'p'),
        ("ѕ", 's'),
        ("тτ", 't'),
        ("хχ", 'x'),
        ("уυγ", 'y'),
    ];
    ALIKE.iter().find(|(letters, _)| !c.is_ascii() && letters.contains(c)).map_or(c, |(_, latin)| *latin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_one_however_the_name_is_written() {
        for (a, b, expected) in [
            ("Bình", "Bi\u{300}nh", true),
            ("BÌNH", "bình", true),
            ("An", " an ", true),
            ("An", "\u{410}n", true),
            ("HOA", "\u{41d}\u{41e}\u{410}", true),
            ("An", "Ân", false),
            ("Bình", "Binh", false),
            ("Lan", "Lân", false),
        ] {
            assert_eq!(may_be_same_person(a, b), expected, "{a} {b}");
            assert!(!is_same_person(a, b) || expected, "{a} {b}");
        }
    }
}
