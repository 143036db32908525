use proptest::prelude::*;

use super::*;

/// Returns the text of the document's root element.
fn text_of(answer: &str) -> Result<String, Malformed> {
    with_document(answer.as_bytes(), |document| {
        Ok(document.root_element().children().filter_map(|node| node.text()).collect())
    })
}

#[test]
fn bare_ampersands_are_literal() {
    for (written, meant) in [
        ("Admin & Clerical", "Admin & Clerical"),
        ("A&E", "A&E"),
        ("R&D, X; Y", "R&D, X; Y"),
        ("&", "&"),
        ("&&amp;&", "&&&"),
        ("&amp", "&amp"),
        ("&#; &#x; &#xZ; &#12", "&#; &#x; &#xZ; &#12"),
        ("&1; &-a;", "&1; &-a;"),
        ("A&E; MAIN SITE", "A&E; MAIN SITE"),
        ("&nbsp; &é; &_x.y-z:1; &AMP; &ltd;", "&nbsp; &é; &_x.y-z:1; &AMP; &ltd;"),
        ("<![CDATA[a & b &amp; c]]>", "a & b &amp; c"),
    ] {
        assert_eq!(text_of(&format!("<a>{written}</a>")).as_deref(), Ok(meant), "{written}");
    }
    let attribute = with_document(b"<a b='x & y' c='&lt;'/>", |document| {
        let root = document.root_element();
        Ok((root.attribute("b").map(str::to_owned), root.attribute("c").map(str::to_owned)))
    });
    assert_eq!(attribute, Ok((Some("x & y".into()), Some("<".into()))));
}

#[test]
fn known_references_mean_their_character() {
    assert_eq!(text_of("<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x42;</a>").as_deref(), Ok("<>&\"'AB"));
}

#[test]
fn references_to_invalid_characters_are_refused() {
    for reference in ["&#0;", "&#1;", "&#xD800;", "&#x110000;", "&#xFFFF;", "&#99999999999999999999;"] {
        assert_eq!(text_of(&format!("<a>{reference}</a>")), Err(Malformed::NotXml), "{reference}");
    }
}

#[test]
fn bare_angle_brackets_are_literal() {
    for text in [
        "CHILDREN <16 CLINIC",
        "A < B",
        "<",
        "<<",
        "x <",
        "<5 > 3",
        "<=5",
        "</3",
        "CHILDREN <FIVE CLINIC",
        "CHILDREN <é, \"A\":\"B\"",
        "<a <b",
        "& < &",
    ] {
        assert_eq!(text_of(&format!("<a>{text}</a>")).as_deref(), Ok(text), "{text}");
    }
    // A piece that looks like a whole tag is one.
    assert_eq!(text_of("<a>CHILDREN <UNDER> FIVE</a>"), Err(Malformed::NotXml));
    assert_eq!(text_of("<a b='<'/>"), Err(Malformed::NotXml));
}

#[test]
fn a_response_is_decoded_with_the_encoding_that_it_names() {
    let text = |answer: &[u8]| {
        with_document(answer, |document| Ok(document.root_element().text().unwrap_or_default().to_owned()))
    };
    for name in ["ISO-8859-1", "iso-8859-15", "windows-1252", "US-ASCII"] {
        let answer = [format!("<?xml version='1.0' encoding='{name}'?><a>Ren").as_bytes(), b"\xe9e</a>"].concat();
        assert_eq!(text(&answer).as_deref(), Ok("Renée"), "{name}");
    }
    let utf16 = "\u{feff}<?xml version='1.0' encoding='UTF-16'?><a>Renée</a>".encode_utf16();
    let [little, big] = [u16::to_le_bytes, u16::to_be_bytes];
    assert_eq!(text(&utf16.clone().flat_map(little).collect::<Vec<_>>()).as_deref(), Ok("Renée"));
    assert_eq!(text(&utf16.flat_map(big).collect::<Vec<_>>()).as_deref(), Ok("Renée"));
    // Its declaration names another encoding.
    assert_eq!(text("<?xml version='1.0' encoding='ISO-8859-1'?><a>Renée</a>".as_bytes()).as_deref(), Ok("Renée"));
    for named in ["", "<?xml version='1.0'?>", "<?xml encoding='UTF-8'?>", "<?xml encoding='EUC-JP'?>"] {
        assert_eq!(text(&[named.as_bytes(), b"<a>\xe9</a>"].concat()), Err(Malformed::NotUtf8), "{named}");
    }
    let long = [&b"<?xml encoding='latin1'?>"[..], &vec![0xe9; MAX_ANSWER - 100]].concat();
    assert_eq!(text(&long), Err(Malformed::TooLarge));
}

#[test]
fn a_doctype_is_dropped_unread() {
    for doctype in [
        r#"<!DOCTYPE USER SYSTEM "https://gas.nis1.national.ncrs.nhs.uk/login/dtd">"#,
        r#"<!DOCTYPE a PUBLIC '">' ">]">"#,
        r#"<!DOCTYPE a [ <!ELEMENT a (#PCDATA)> <!-- ]> ' <!ENTITY --> <?x ]>"?> <!ATTLIST a b CDATA ">"> %p; ]>"#,
        "<!DOCTYPE é>",
    ] {
        assert_eq!(text_of(&format!("<?xml version='1.0'?>\n{doctype}\n<a>x</a>")).as_deref(), Ok("x"), "{doctype}");
    }
}

#[test]
fn a_doctype_that_declares_entities_is_refused() {
    let bomb = r#"<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>"#;
    let external = r#"<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>x</a>"#;
    assert_eq!(text_of(bomb), Err(Malformed::Entity));
    assert_eq!(text_of(external), Err(Malformed::Entity));
}

#[test]
fn a_second_doctype_or_a_late_one_is_refused() {
    for answer in
        ["<!DOCTYPE a><!DOCTYPE a><a/>", "<a><!DOCTYPE a></a>", "<a/><!DOCTYPE a>", "<!DOCTYPE a [", "<!DOCTYPE '"]
    {
        assert_eq!(text_of(answer), Err(Malformed::NotXml), "{answer}");
    }
}

#[test]
fn at_most_sixty_four_levels_of_nesting_are_accepted() {
    let nested = |levels: usize| format!("{}x{}", "<a>".repeat(levels), "</a>".repeat(levels));
    assert!(text_of(&nested(64)).is_ok());
    assert_eq!(text_of(&nested(65)), Err(Malformed::TooDeep));
    let siblings = format!("<a>{}</a>", "<b/>".repeat(1000));
    assert!(text_of(&siblings).is_ok());
}

#[test]
fn more_tags_attributes_or_namespaces_than_a_real_response_has_are_refused() {
    let tags = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count - 2));
    assert!(text_of(&tags(MAX_TAGS)).is_ok());
    let attributes = |count: usize| format!("<a{}/>", (0..count).map(|n| format!(" a{n}=''")).collect::<String>());
    assert!(text_of(&attributes(64)).is_ok());
    assert_eq!(text_of(&attributes(65)), Err(Malformed::TooDeep));
    let equals = |count: usize| format!("<a>{}</a>", "=".repeat(count));
    assert!(text_of(&equals(MAX_EQUALS)).is_ok());
    let ampersands = |count: usize| format!("<a>{}</a>", "&".repeat(count));
    assert!(text_of(&ampersands(MAX_BARE_AMPERSANDS)).is_ok());
    for more in [1, 2, 1000] {
        assert_eq!(text_of(&tags(MAX_TAGS + more)), Err(Malformed::TooLarge));
        assert_eq!(text_of(&equals(MAX_EQUALS + more)), Err(Malformed::TooLarge));
        assert_eq!(text_of(&ampersands(MAX_BARE_AMPERSANDS + more)), Err(Malformed::TooLarge));
    }
    let namespaces = |count: usize| {
        format!("<a>{}</a>", (0..count).map(|n| format!("<b xmlns:n{n}='x'/>").repeat(100)).collect::<String>())
    };
    assert!(text_of(&namespaces(16)).is_ok());
    assert_eq!(text_of(&namespaces(17)), Err(Malformed::TooLarge));
}

#[test]
fn documents_other_than_xml_are_refused() {
    for (answer, why) in [
        ("", Malformed::Empty),
        (" \r\n", Malformed::Empty),
        ("\u{feff}", Malformed::Empty),
        ("hello", Malformed::NotXml),
        ("<html><br></html>", Malformed::NotXml),
        ("<a", Malformed::NotXml),
        ("<a b='", Malformed::NotXml),
        ("<a></a></a>", Malformed::NotXml),
        ("<a>", Malformed::NotXml),
        ("<a/><b/>", Malformed::NotXml),
        ("<a><!-- </a>", Malformed::NotXml),
        ("<a>\0</a>", Malformed::Nul),
        ("<a>\u{1}</a>", Malformed::NotXml),
    ] {
        assert_eq!(text_of(answer), Err(why), "{answer:?}");
    }
    assert_eq!(with_document(b"<a>\xff</a>", |_| Ok(())), Err(Malformed::NotUtf8));
    for (size, why) in [(MAX_ANSWER, Malformed::Empty), (MAX_ANSWER + 1, Malformed::TooLarge)] {
        assert_eq!(with_document(&vec![b' '; size], |_| Ok(())), Err(why));
    }
}

#[test]
fn repaired_text_is_not_reallocated() {
    let document = format!("<a>{}</a>", "T & < ".repeat(10_000));
    let repaired = well_formed(&document, MAX_TAGS).unwrap();
    // The two tags could have been bare angle brackets.
    assert_eq!((repaired.len(), repaired.capacity()), (document.len() + 70_000, document.len() + 70_006));
}

proptest! {
    #[test]
    fn well_formed_text_is_left_as_it_is(text in "[a-z <>&\"'\u{e9}]{0,60}") {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let document = format!("<a b='{}'>{escaped}</a>", escaped.replace('\'', "&apos;"));
        prop_assert_eq!(&**well_formed(&document, MAX_TAGS).unwrap(), &document);
    }

    #[test]
    fn any_text_is_read_or_refused(answer in "([<>&;/!?='\"\\[\\]#x1 a\u{e9}-]|<!DOCTYPE|<!\\[CDATA\\[|\\]\\]>|<a>|</a>|<!--|-->){0,40}") {
        let _ = text_of(&answer);
    }
}
