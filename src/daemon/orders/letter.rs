//! The reply to the authority, in the form that NĐ 30/2020 gives letters, as Markdown.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::commands::{Effect, OrderTold};

/// The reply about a verified order; times are those of `zone`.
pub fn letter(effect: &Effect, zone: &TimeZone) -> String {
    let unit = effect.organization.as_deref().unwrap_or("TÊN ĐƠN VỊ");
    let OrderTold { reference, authority, legal_basis, received, .. } = &effect.order;
    let here = |text: &str| {
        text.parse::<jiff::Timestamp>().map_or_else(
            |_| text.to_owned(),
            |at| at.to_zoned(zone.clone()).strftime("%H giờ %M phút, ngày %d tháng %m năm %Y").to_string(),
        )
    };
    let date = effect.at.parse::<jiff::Timestamp>().map_or_else(
        |_| effect.at.clone(),
        |at| at.to_zoned(zone.clone()).strftime("ngày %d tháng %m năm %Y").to_string(),
    );
    let done = effect.names.iter().filter(|name| name.effective).count();
    let mut text = format!(
        "**{unit}**\n\nSố: …/…\n\n**CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM**  \n**Độc lập – Tự do – Hạnh phúc**\n\n\
         *…, {date}*\n\nV/v thực hiện yêu cầu số {reference}\n\n**Kính gửi:** {authority}\n\n\
         Thực hiện yêu cầu số {reference} của {authority} (căn cứ: {legal_basis}), nhận lúc {}, đơn vị chúng tôi xin báo cáo \
         kết quả như sau:\n\n1. Đã ngăn chặn {done}/{} tên miền trên hệ thống phân giải tên miền của đơn vị.\n\n\
         2. Thời điểm kiểm chứng: {}, tại nút {}; {} kể từ khi nhận yêu cầu.\n\n3. Kết quả kiểm chứng từng tên miền:\n\n\
         | STT | Tên miền | Kết quả | Thời gian trả lời |\n|---|---|---|---|\n",
        here(received),
        effect.names.len(),
        here(&effect.at),
        effect.node,
        in_vietnamese(effect.after_secs),
    );
    for (i, name) in effect.names.iter().enumerate() {
        let result = if name.effective { "Đã chặn (NXDOMAIN, EDE 16)" } else { "Chưa chặn" };
        let _ = writeln!(text, "| {} | {} | {result} | {} µs |", i + 1, name.name, name.micros);
    }
    text.push_str(
        "\nTrân trọng báo cáo./.\n\n**Nơi nhận:**\n- Như trên;\n- Lưu: VT.\n\n**ĐẠI DIỆN ĐƠN VỊ**\n\n*(Ký, ghi rõ họ tên)*\n",
    );
    text
}

fn in_vietnamese(secs: i64) -> String {
    format!("{} giờ {} phút {} giây", secs / 3_600, secs % 3_600 / 60, secs % 60)
}
