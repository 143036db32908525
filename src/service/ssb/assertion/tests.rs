use proptest::prelude::*;

use super::super::message::MAX_ANSWER;
use super::*;

const UID: &str =
    "<saml:Attribute AttributeName=\"uid\"><saml:AttributeValue>123</saml:AttributeValue></saml:Attribute>";

fn response(inside: &str) -> String {
    format!("<samlp:Response xmlns:samlp=\"{PROTOCOL}\" xmlns:saml=\"{ASSERTION}\">{inside}</samlp:Response>")
}

fn status(code: &str) -> String {
    format!("<samlp:Status><samlp:StatusCode Value=\"{code}\"/></samlp:Status>")
}

fn assertion(attributes: &str) -> String {
    format!("<saml:Assertion><saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>")
}

fn success(attributes: &str) -> String {
    response(&(status("samlp:Success") + &assertion(attributes)))
}

/// An attribute with values that are already XML.
fn attribute(name: &str, values: &[&str]) -> String {
    let values: String =
        values.iter().map(|value| format!("<saml:AttributeValue>{value}</saml:AttributeValue>")).collect();
    format!("<saml:Attribute AttributeName=\"{name}\">{values}</saml:Attribute>")
}

fn read(answer: &str) -> Result<RoleAssertion, Rejection> {
    read_assertion(answer.as_bytes())
}

fn read_attributes(attributes: &str) -> Result<RoleAssertion, Rejection> {
    read(&success(&(UID.to_owned() + attributes)))
}

#[track_caller]
fn assert_malformed(answer: &str, why: Malformed) {
    assert_eq!(read(answer), Err(Rejection::Malformed(why)), "{answer:.300}");
}

#[test]
fn an_assertion_with_only_a_user_is_accepted() {
    let assertion = read(&success(UID)).unwrap();
    assert_eq!((&*assertion.uid, &*assertion.user_name), ("123", ""));
    assert_eq!((assertion.session_role(), assertion.roles.len()), (None, 0));
    assert_eq!((assertion.mode, assertion.issued), (None, None));
}

#[test]
fn attributes_of_the_user_may_be_anywhere() {
    let attributes = [
        attribute("nhsIDCode", &["X09"]),
        attribute("uniqueIdentifier", &["7"]),
        attribute("ssbSessionRoleUid", &["8"]),
        attribute("nhsOcsPrCode", &["G123"]),
        attribute("nhsIdCode", &[""]),
        attribute("cn", &["A\n  Person"]),
        attribute("uniqueIdentifier", &["8"]),
        attribute("ssbMode", &["1"]),
        attribute("ssbAssertionVersion", &["1.1"]),
    ];
    let assertion = read_attributes(&attributes.concat()).unwrap();
    assert_eq!((assertion.user_name.as_str(), assertion.mode.as_ref()), ("A Person", Some(&Mode::Training)));
    assert_eq!(assertion.prescriber_code.as_deref(), Some("G123"));
    let roles: Vec<_> = assertion.roles.iter().map(|p| (&*p.role.id, &*p.role.organisation_code)).collect();
    assert_eq!(roles, [("7", "X09"), ("8", "")]);
    assert_eq!(assertion.session_role().unwrap().role.id, "8");
}

#[test]
fn values_keep_their_order_even_in_several_attributes() {
    let attributes = [
        attribute("nhsIdCode", &["X09"]),
        attribute("nhsAreaOfWork", &["b", "", "a"]),
        attribute("unknown", &["<x/>"]),
        attribute("nhsAreaOfWork", &["c"]),
        attribute("nhsOrgOpenDate", &["20010228", " 19740401\n", "20010229", ""]),
        attribute("nhsPersonStatus", &["1"]),
    ];
    let assertion = read_attributes(&attributes.concat()).unwrap();
    let profile = &assertion.roles[0];
    assert_eq!(profile.areas_of_work, ["b", "", "a", "c"]);
    assert_eq!(profile.opened.iter().map(Date::to_string).collect::<Vec<_>>(), ["2001-02-28", "1974-04-01"]);
    assert_eq!((&*profile.person_status, profile.closed.len()), (&["1".to_owned()][..], 0));
}

#[test]
fn only_the_status_success_counts_as_success() {
    for other in ["samlp:Requester", "Success", "", "saml:Success", "samlp:Success2", "x:Success"] {
        for answer in [response(&status(other)), response(&(status(other) + &assertion(UID)))] {
            assert!(matches!(read(&answer), Err(Rejection::Refused(_))), "{answer}");
        }
    }
    let told = "<samlp:Status><samlp:StatusCode Value=\"samlp:Requester\"/>\
                <samlp:StatusMessage>no\n such\u{9b} session</samlp:StatusMessage></samlp:Status>";
    let reason = "its status is \"samlp:Requester\" no such session".to_owned();
    assert_eq!(read(&response(told)), Err(Rejection::Refused(reason)));
}

#[test]
fn another_prefix_may_stand_for_the_same_namespace() {
    let answer = success(UID).replace("samlp:", "p:").replace(":samlp", ":p").replace("saml:", "s:");
    assert_eq!(read(&answer.replace(":saml", ":s")).unwrap().uid, "123");
    let answer = success(UID).replace("<saml:", "<").replace("</saml:", "</").replace(":saml=", "=");
    assert_eq!(read(&answer).unwrap().uid, "123");
}

#[test]
fn elements_of_another_namespace_are_ignored() {
    assert_malformed(&success(UID).replace(PROTOCOL, "urn:other"), Malformed::NotAMessage);
    assert_malformed(&success(UID).replace(ASSERTION, "urn:other"), Malformed::Missing("Assertion"));
    assert_malformed(&success(UID).replace("saml:Attribute ", "samlp:Attribute "), Malformed::NotXml);
    let foreign = UID.replace("saml:Attribute>", "samlp:Attribute>").replace("saml:Attribute ", "samlp:Attribute ");
    assert_malformed(&success(&foreign), Malformed::Missing("uid"));
    assert_malformed(&success(UID).replace("xmlns:saml=", "xmlns:other="), Malformed::NotXml);
    assert_malformed(&success(UID).replace("saml:Attribute", "soap:Attribute"), Malformed::NotXml);
}

#[test]
fn required_elements_must_occur_once() {
    let good = status("samlp:Success");
    for (answer, why) in [
        ("<gpOBJECT/>".to_owned(), Malformed::NotAMessage),
        (response(&assertion(UID)), Malformed::Missing("Status")),
        (response(&(good.repeat(2) + &assertion(UID))), Malformed::Twice("Status")),
        (response("<samlp:Status/>"), Malformed::Missing("StatusCode")),
        (response("<samlp:Status><samlp:StatusCode/></samlp:Status>"), Malformed::Missing("StatusCode")),
        (response(&good), Malformed::Missing("Assertion")),
        (response(&(good.clone() + &assertion(UID).repeat(2))), Malformed::Twice("Assertion")),
        (response(&(good + "<saml:Assertion/>")), Malformed::Missing("uid")),
        (success(""), Malformed::Missing("uid")),
        (success(&attribute("uid", &[])), Malformed::Missing("uid")),
        (success(&attribute("uid", &[""])), Malformed::Missing("uid")),
        (success(&attribute("uid", &["1", "2"])), Malformed::Twice("uid")),
        (success(&UID.repeat(2)), Malformed::Twice("uid")),
    ] {
        assert_malformed(&answer, why);
    }
    let code = "<samlp:StatusCode Value=\"samlp:Success\"/>";
    assert_malformed(&response(&format!("<samlp:Status>{code}{code}</samlp:Status>")), Malformed::Twice("StatusCode"));
}

#[test]
fn of_two_values_of_a_single_valued_attribute_the_first_is_used() {
    for name in OF_THE_USER.into_iter().filter(|name| *name != "uid") {
        let once = read_attributes(&attribute(name, &["1"])).unwrap();
        assert_ne!(once, read_attributes("").unwrap(), "{name}");
        for twice in [attribute(name, &["1", "2"]), attribute(name, &["1"]) + &attribute(name, &["2"])] {
            assert_eq!(read_attributes(&twice).as_ref(), Ok(&once), "{twice}");
        }
    }
    for name in [FIRST_OF_A_ROLE, "o", "nhsJobRole", "nhsJobRoleCode", "uniqueIdentifier"] {
        let block = if name == FIRST_OF_A_ROLE { String::new() } else { attribute("nhsIdCode", &["X"]) };
        let once = read_attributes(&(block.clone() + &attribute(name, &["1"])));
        assert_eq!(read_attributes(&(block + &attribute(name, &["1", "2"]))), once, "{name}");
    }
}

#[test]
fn an_attribute_that_could_be_of_the_next_role_is_refused() {
    let block = attribute("nhsIdCode", &["X"]);
    for name in ["o", "nhsJobRole", "nhsJobRoleCode", "uniqueIdentifier"] {
        let twice = attribute(name, &["1"]).repeat(2);
        assert_malformed(&success(&(UID.to_owned() + &block + &twice)), Malformed::Twice(name));
        let once_each = (block.clone() + &attribute(name, &["1"])).repeat(2);
        assert_eq!(read_attributes(&once_each).unwrap().roles.len(), 2);
    }
}

#[test]
fn names_are_compared_without_case() {
    for name in ["NhsOcsPrCode", "nhsOCSPRCode", "NHSOCSPRCODE"] {
        assert_eq!(read_attributes(&attribute(name, &["G1"])).unwrap().prescriber_code.as_deref(), Some("G1"));
    }
    let exact = full_role(1) + &attribute("nhsOrgOpenDate", &["20200101"]) + &attribute("ssbMode", &["0"]);
    let name_in = |case: fn(&str) -> String| {
        let mut written = exact.clone();
        for name in OF_A_ROLE.into_iter().chain(OF_THE_USER).chain([FIRST_OF_A_ROLE]) {
            written = written.replace(&format!("\"{name}\""), &format!("\"{}\"", case(name)));
        }
        written
    };
    for case in [str::to_ascii_lowercase, str::to_ascii_uppercase] {
        assert_eq!(read_attributes(&name_in(case)), read_attributes(&exact));
    }
    assert_malformed(&success(&(UID.to_owned() + &UID.replace("uid", "UID"))), Malformed::Twice("uid"));
}

#[test]
fn values_that_declare_namespaces_and_types_are_parsed() {
    let typed = "<saml:AttributeValue xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"xs:string\">";
    let roles: String = (0..100).map(full_role).collect();
    let plain = read_attributes(&roles);
    assert_eq!(read_attributes(&roles.replace("<saml:AttributeValue>", typed)), plain);
    assert_eq!(plain.unwrap().roles.len(), 100);
}

#[test]
fn four_hundred_roles_in_the_published_form_are_parsed() {
    let published = include_str!("../../../../tests/data/role-assertion.xml");
    let start = published.find("<saml:Attribute AttributeName=\"nhsIdCode\"").unwrap();
    let (before, role) = published.split_at(start);
    let (role, after) = role.split_at(role.find("</saml:AttributeStatement>").unwrap());
    let answer = [before, &role.repeat(400), after].concat();
    assert!(answer.len() > 1_100_000);
    assert_eq!(read(&answer).unwrap().roles.len(), 400);
}

#[test]
fn an_attribute_of_a_role_before_the_first_role_is_refused() {
    for name in OF_A_ROLE {
        let attributes = UID.to_owned() + &attribute(name, &["1"]) + &attribute("nhsIdCode", &["X"]);
        assert_malformed(&success(&attributes), Malformed::Missing("nhsIdCode"));
        // Each of the names belongs to roles.
        let within = read_attributes(&(attribute("nhsIdCode", &["X"]) + &attribute(name, &["20200101"]))).unwrap();
        assert_ne!(within, read_attributes(&attribute("nhsIdCode", &["X"])).unwrap(), "{name}");
    }
    assert!(read_attributes(&attribute("unknown", &["1"])).is_ok());
}

#[test]
fn a_value_in_cdata_is_text_and_one_in_pieces_is_refused() {
    let of = |value: &str| read(&success(&attribute("uid", &[value])));
    assert_eq!(of("<![CDATA[1<2 & 3]]>").unwrap().uid, "1<2 & 3");
    assert_eq!(of("1<![CDATA[2]]>3").unwrap().uid, "123");
    assert_eq!(of("A & B").unwrap().uid, "A & B");
    for pieces in ["1<!-- -->2", "<!-- -->", "1<?x?>2", "<saml:AttributeValue>1</saml:AttributeValue>", "1<b/>"] {
        assert_eq!(of(pieces), Err(Malformed::BadValue("uid").into()), "{pieces}");
    }
    let list = attribute("nhsIdCode", &["X"]) + &attribute("nhsWorkGroups", &["a", "b<!-- -->c"]);
    assert_eq!(read_attributes(&list), Err(Malformed::BadValue("nhsWorkGroups").into()));
}

#[test]
fn an_assertion_within_the_confirmation_data_is_ignored() {
    let inner = assertion(&UID.replace("123", "666"));
    let subject = format!(
        "<saml:Subject><saml:SubjectConfirmation><saml:SubjectConfirmationData>{inner}AQIC5w\
         </saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject>"
    );
    let read = read(&success(&(subject.clone() + UID))).unwrap();
    assert_eq!(read.uid, "123");
    assert!(!format!("{read:?}").contains("AQIC"));
    assert_malformed(&success(&subject), Malformed::Missing("uid"));
    let quoting = read_assertion(response(&(status("samlp:No") + &assertion(&subject))).as_bytes());
    assert!(!format!("{quoting:?}").contains("AQIC"));
}

/// As full as the capture's: 23 values in 7 attributes.
fn full_role(number: usize) -> String {
    let list = |name: &str, of: &str| {
        let values: Vec<_> = (0..9).map(|n| format!("{of} {number} {n}")).collect();
        attribute(name, &values.iter().map(String::as_str).collect::<Vec<_>>())
    };
    attribute("nhsIdCode", &[&format!("B{number:05}")])
        + &attribute("o", &["A & E"])
        + &list("nhsBusinessFunctions", "Claim a relationship with a patient")
        + &list("nhsBusinessFunctionsCodes", "B")
        + &attribute("nhsJobRole", &["\"A\":\"B\":\"C\""])
        + &attribute("uniqueIdentifier", &[&number.to_string()])
        + &attribute("nhsJobRoleCode", &["S8000:G8000:R8003"])
}

#[test]
fn three_hundred_full_roles_are_parsed() {
    let roles: String = (0..300).map(full_role).collect();
    let assertion = read_attributes(&roles).unwrap();
    assert_eq!(assertion.roles.len(), 300);
    let last = &assertion.roles[299];
    assert_eq!((&*last.role.id, &*last.role.organisation, &*last.role.role_type), ("299", "A & E", "A"));
    assert_eq!(last.business_functions[8], "Claim a relationship with a patient 299 8");
    assert_eq!(last.business_function_codes.len(), 9);
}

#[test]
fn five_thousand_values_are_parsed() {
    let values: Vec<_> = (0..5000).map(|number| number.to_string()).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let attributes = attribute("nhsIdCode", &["X"]) + &attribute("nhsBusinessFunctions", &values);
    assert_eq!(read_attributes(&attributes).unwrap().roles[0].business_functions, values);
}

#[test]
fn more_roles_or_tags_than_a_real_response_has_are_refused() {
    let empty = "<saml:Attribute AttributeName='nhsIdCode'/>";
    assert_eq!(read_attributes(&empty.repeat(MAX_ROLES)).unwrap().roles.len(), MAX_ROLES);
    assert_malformed(&success(&(UID.to_owned() + &empty.repeat(MAX_ROLES + 1))), Malformed::TooLarge);
    assert_malformed(&success(&"<a/>".repeat(MAX_TAGS)), Malformed::TooLarge);
    assert_malformed(&" ".repeat(MAX_ANSWER + 1), Malformed::TooLarge);
}

/// One attribute after the other, as another broker might write them.
fn written(names: &[(&str, &[String])]) -> String {
    let escaped = |value: &String| {
        let escape =
            |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("&#x{:x};", u32::from(c)) };
        value.chars().map(escape).collect::<String>()
    };
    let write = |(name, values): &(&str, &[String])| {
        let values: Vec<_> = values.iter().map(escaped).collect();
        attribute(name, &values.iter().map(String::as_str).collect::<Vec<_>>())
    };
    names.iter().map(write).collect()
}

#[test]
fn control_characters_are_refused_in_ids_and_removed_from_other_values() {
    for odd in ["a\nb", "a\u{9b}b", "a\u{2028}b", "\u{202e}ab"] {
        let of = |name| written(&[(name, &[odd.to_owned()])]);
        assert_malformed(&success(&of("uid")), Malformed::BadValue("uid"));
        let session_role = success(&(UID.to_owned() + &of("ssbSessionRoleUid")));
        assert_malformed(&session_role, Malformed::BadValue("ssbSessionRoleUid"));
        let others = ["nhsIdCode", "uniqueIdentifier", "nhsIdCode", "nhsWorkGroups", "ssbMode", "nhsOcsPrCode"];
        let read = read_attributes(&others.map(of).concat()).unwrap();
        let values = [&read.roles[0].role.organisation_code, &read.roles[0].workgroups[0]];
        for value in values.into_iter().chain(&read.prescriber_code) {
            assert!(!value.contains(is_unfit) && value.starts_with('a') && value.ends_with('b'), "{value:?}");
        }
        // The role whose id cannot be shown is skipped.
        assert_eq!(read.roles.len(), 1);
    }
}

proptest! {
    #[test]
    fn any_values_that_can_be_shown_are_read_as_they_were_written(
        one in proptest::collection::vec("([<>&'\" ]|\\]\\]>|<!--|[a-z]|[^\\p{C}\\p{Zl}\\p{Zp}]){1,8}", 5),
        many in proptest::collection::vec("([<>&'\" ]|\\]\\]>|[a-z]|[^\\p{C}\\p{Zl}\\p{Zp}]){0,8}", 0..8),
        split in 0..8usize,
    ) {
        let (first, rest) = many.split_at(split.min(many.len()));
        let one = |n: usize| std::slice::from_ref(&one[n]);
        let text = written(&[
            ("nhsIdCode", one(0)),
            ("nhsWorkGroups", first),
            ("uniqueIdentifier", one(1)),
            ("uid", one(2)),
            ("nhsWorkGroups", rest),
            ("nhsJobRoleCode", one(3)),
            ("ssbSessionRoleUid", one(4)),
        ]);
        let read = read(&success(&text)).unwrap();
        let profile = &read.roles[0];
        prop_assert_eq!(&profile.role.organisation_code, &one(0)[0]);
        prop_assert_eq!(&profile.role.id, &one(1)[0]);
        prop_assert_eq!(&read.uid, &one(2)[0]);
        prop_assert_eq!(profile.job_role_code.as_ref(), Some(&one(3)[0]));
        prop_assert_eq!(read.session_role.as_ref(), Some(&one(4)[0]));
        prop_assert_eq!(&profile.workgroups, &many);
    }

    #[test]
    fn any_answer_is_read_or_refused(
        pieces in proptest::collection::vec(0..12usize, 0..30),
    ) {
        let all = [
            "<saml:Attribute AttributeName=\"nhsIdCode\">", "</saml:Attribute>", "<saml:AttributeValue>",
            "</saml:AttributeValue>", "<saml:Attribute AttributeName=\"o\">", "<saml:AttributeStatement>", "x", "<!-- -->",
            "<![CDATA[", "]]>", "&", UID,
        ];
        let _ = read(&success(&pieces.into_iter().map(|piece| all[piece]).collect::<String>()));
    }
}
