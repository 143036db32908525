//! Names the places of the settings in the order in which they are read, and what each sets.

use ticketapi::config::{Origin, Setting, Sources};

/// Returns the sentence. `set` are the settings of the command line.
pub fn sentence(sources: &Sources, set: &[(String, String)]) -> String {
    let mut parts = Vec::new();
    let settings = || sources.settings.iter().enumerate();
    let shown = |(index, setting): (usize, &Setting)| shown(sources, set, index, setting);
    let add = |parts: &mut Vec<String>, wanted: &dyn Fn(&Origin) -> bool| {
        let mut last = None;
        for (index, setting) in settings().filter(|(_, setting)| wanted(&setting.origin)) {
            let place = place(sources, &setting.origin);
            match parts.last_mut() {
                Some(part) if last.as_ref() == Some(&place) => *part += &format!(", {}", shown((index, setting))),
                _ => parts.push(format!("{place} {}", shown((index, setting)))),
            }
            last = Some(place);
        }
    };
    add(&mut parts, &|origin| matches!(origin, Origin::IdentityAgent { .. }));
    if !settings().any(|(_, setting)| matches!(setting.origin, Origin::File { .. })) {
        let nothing = |file: &std::path::PathBuf| format!("{}, which sets nothing", file.display());
        parts.push(sources.file.as_ref().map_or_else(|| "no file".to_owned(), nothing));
    }
    add(&mut parts, &|origin| !matches!(origin, Origin::IdentityAgent { .. }) && !is_policy(origin));
    if !set.is_empty() {
        let by_policy = |key: &str| sources.settings.iter().any(|other| other.key == key && is_policy(&other.origin));
        let keys = set.iter().map(|(key, _)| named(key, None, by_policy(key)));
        parts.push(format!("--set {}", keys.collect::<Vec<_>>().join(", ")));
    }
    add(&mut parts, &is_policy);
    if !sources.ignored.is_empty() {
        parts.push(format!("without effect here: {}", sources.ignored.join(", ")));
    }
    parts.join("; ")
}

fn is_policy(origin: &Origin) -> bool {
    matches!(origin, Origin::Registry { policy: true, .. })
}

fn place(sources: &Sources, origin: &Origin) -> String {
    match origin {
        Origin::Variable(_) => "the environment's".into(),
        Origin::File { .. } => {
            format!("{}, which sets", sources.file.as_deref().unwrap_or(std::path::Path::new("")).display())
        }
        Origin::Registry { place, .. } | Origin::IdentityAgent { place, .. } => format!("{place}, which sets"),
    }
}

fn shown(sources: &Sources, set: &[(String, String)], index: usize, setting: &Setting) -> String {
    let overridden = sources.settings[index + 1..].iter().any(|later| later.key == setting.key)
        || set.iter().any(|(key, _)| *key == setting.key) && !is_policy(&setting.origin);
    match &setting.origin {
        Origin::IdentityAgent { name, .. } => named(&setting.key, Some(name.clone()), overridden),
        Origin::File { line } => named(&setting.key, Some(format!("line {line}")), overridden),
        Origin::Registry { .. } => named(&setting.key, None, overridden),
        Origin::Variable(name) => named(name, None, overridden),
    }
}

fn named(name: &str, note: Option<String>, overridden: bool) -> String {
    let notes: Vec<_> = note.into_iter().chain(overridden.then(|| "overridden".to_owned())).collect();
    if notes.is_empty() { name.to_owned() } else { format!("{name} ({})", notes.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_named_once_in_the_order_of_reading_and_policies_last() {
        let registry = |place: &str, policy| Origin::Registry { place: place.into(), policy };
        let settings = [
            ("base_url", Origin::IdentityAgent { place: "HKLM\\Agent".into(), name: "ActivatePOSTURL".into() }),
            ("mode", Origin::File { line: 2 }),
            ("role", Origin::File { line: 3 }),
            ("role", registry("HKLM\\own", false)),
            ("digest", registry("HKLM\\own", false)),
            ("digest", Origin::Variable("TICKETAPI_DIGEST".into())),
            ("mode", registry("HKLM\\policy", true)),
        ];
        let sources = Sources {
            file: Some("c.toml".into()),
            settings: settings.map(|(key, origin)| Setting { key: key.into(), origin }).into(),
            ignored: vec!["HKLM\\Agent\\EnablePinPad".into()],
        };
        let set = [("mode", "normal"), ("role", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(
            sentence(&sources, &set),
            "HKLM\\Agent, which sets base_url (ActivatePOSTURL); \
             c.toml, which sets mode (line 2, overridden), role (line 3, overridden); \
             HKLM\\own, which sets role (overridden), digest (overridden); the environment's TICKETAPI_DIGEST; \
             --set mode (overridden), role; HKLM\\policy, which sets mode; \
             without effect here: HKLM\\Agent\\EnablePinPad"
        );
    }

    #[test]
    fn a_file_that_sets_nothing_and_no_file_are_named_too() {
        let mut sources = Sources::default();
        assert_eq!(sentence(&sources, &[]), "no file");
        sources.file = Some("c.toml".into());
        assert_eq!(sentence(&sources, &[]), "c.toml, which sets nothing");
    }
}
