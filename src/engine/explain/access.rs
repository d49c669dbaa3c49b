//! Who may not ask at all: what stands before the ladder, said like a verdict.

use super::{Explanation, Tried};
use crate::engine::client::UnixTime;
use crate::engine::compile::Strangers;
use crate::engine::query::{Origin, Question};
use crate::engine::snapshot::Snapshot;
use crate::engine::verdict::EdeCode;

/// What a source outside `[access]` gets, whatever it asks; `None` for one that may ask.
pub fn judge_source(
    snapshot: &Snapshot,
    origin: &Origin,
    at: UnixTime,
    question: &Question,
    type_text: &str,
) -> Option<Box<Explanation>> {
    if snapshot.admits(origin) {
        return None;
    }
    let (source, client) = (origin.source.ip(), snapshot.identify(origin, at));
    let (verdict, outcome, ede) = match snapshot.strangers {
        Strangers::Refuse => ("block", "refused", Some(EdeCode::PROHIBITED.0)),
        Strangers::Drop => ("drop", "dropped", None),
    };
    let (gets_en, gets_vi) = match snapshot.strangers {
        Strangers::Refuse => ("gets REFUSED", "nhận REFUSED"),
        Strangers::Drop => ("gets no answer", "không nhận được trả lời"),
    };
    Some(Box::new(Explanation {
        name: question.qname.to_string(),
        qtype: type_text.to_owned(),
        profile: snapshot.profile(client.profile).name.clone(),
        verdict,
        rung: "access",
        ede,
        tried: vec![Tried { rung: "access", outcome, list: None, name: None }],
        sentence_en: format!("{source} may not ask this resolver: it {gets_en}, whatever the name."),
        sentence_vi: format!("{source} không được phép hỏi máy phân giải này: {gets_vi}, dù hỏi tên nào."),
        change_en: "put its network into [access] allow, or into the networks of a [client.*]; the operator may."
            .into(),
        change_vi:
            "thêm mạng của máy này vào [access] allow, hoặc vào networks của một [client.*]; nhà vận hành được phép."
                .into(),
        ..Explanation::default()
    }))
}
