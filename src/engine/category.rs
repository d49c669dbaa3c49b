//! Categories: named sets of lists, each in a layer, with titles for people.
//!
//! What a category holds is decided by the lists that name it; which clients it stops, by their profile.

use serde::{Deserialize, Serialize};

/// Index of a category in [`Categories`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CategoryId(pub u16);

/// Security protects everyone and sits above the profiles' own word; content is a profile's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    Security,
    Content,
}

/// One category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Lower case, as in the configuration: `adult`.
    pub name: String,
    pub layer: Layer,
    pub title_en: String,
    pub title_vi: String,
}

/// Every category of one snapshot: the built-in ones first, then the configuration's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Categories {
    all: Vec<Category>,
}

/// Name, layer, English and Vietnamese title of the built-in categories.
const BUILT_IN: &[(&str, Layer, &str, &str)] = &[
    ("malware", Layer::Security, "malware", "mã độc"),
    ("phishing", Layer::Security, "phishing", "lừa đảo lấy cắp thông tin"),
    ("scam", Layer::Security, "scam", "lừa đảo"),
    ("botnet", Layer::Security, "botnet control", "điều khiển mạng máy tính ma"),
    ("cryptomining", Layer::Security, "hidden crypto-mining", "đào tiền ảo trái phép"),
    ("adult", Layer::Content, "adult content", "nội dung người lớn"),
    ("gambling", Layer::Content, "gambling", "cờ bạc, cá độ"),
    ("violence", Layer::Content, "violence", "bạo lực"),
    ("drugs", Layer::Content, "drugs", "ma túy, chất cấm"),
    ("self-harm", Layer::Content, "self-harm", "tự gây hại"),
    ("dating", Layer::Content, "dating", "hẹn hò"),
    ("games", Layer::Content, "games", "trò chơi"),
    ("social", Layer::Content, "social networks", "mạng xã hội"),
    ("video", Layer::Content, "video", "xem phim, video"),
    ("chat", Layer::Content, "chat", "trò chuyện"),
    ("piracy", Layer::Content, "piracy", "vi phạm bản quyền"),
    ("ads", Layer::Content, "advertising", "quảng cáo"),
    ("bypass", Layer::Content, "ways round the filter", "công cụ vượt bộ lọc"),
    ("unsafe-search", Layer::Content, "search without SafeSearch", "tìm kiếm không an toàn"),
];

/// The zone of the harmless test names: `adult.block.lachan.example` belongs to `adult`.
pub const TEST_ZONE: &str = "block.lachan.example";
/// The name whose block proves that filtering works; a rule of the built-in security list.
pub const CANARY_NAME: &str = "canary.block.lachan.example";

impl Categories {
    pub fn built_in() -> Categories {
        let all = BUILT_IN
            .iter()
            .map(|&(name, layer, en, vi)| Category {
                name: name.to_owned(),
                layer,
                title_en: en.to_owned(),
                title_vi: vi.to_owned(),
            })
            .collect();
        Categories { all }
    }

    /// Adds a category, or changes layer and titles of one that is there.
    pub fn declare(&mut self, category: Category) -> CategoryId {
        if let Some(id) = self.id(&category.name) {
            self.all[usize::from(id.0)] = category;
            return id;
        }
        self.all.push(category);
        CategoryId(self.all.len() as u16 - 1)
    }

    pub fn id(&self, name: &str) -> Option<CategoryId> {
        self.all.iter().position(|c| c.name == name).map(|i| CategoryId(i as u16))
    }

    pub fn get(&self, id: CategoryId) -> &Category {
        &self.all[usize::from(id.0)]
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (CategoryId, &Category)> + Clone {
        self.all.iter().enumerate().map(|(i, c)| (CategoryId(i as u16), c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_category_is_found_and_a_built_in_one_keeps_its_number() {
        let mut all = Categories::built_in();
        let adult = all.id("adult").unwrap();
        let mut changed = all.get(adult).clone();
        changed.title_en = "not for children".into();
        assert_eq!(all.declare(changed), adult);
        assert_eq!(all.get(adult).title_en, "not for children");
        let new = Category { name: "vapes".into(), layer: Layer::Content, title_en: "e".into(), title_vi: "v".into() };
        let id = all.declare(new);
        assert_eq!(all.id("vapes"), Some(id));
        assert_eq!(all.id("nothing"), None);
    }
}
