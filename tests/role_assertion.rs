//! Parses the whole role assertion of a published capture.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Map, Value, json};
use ticketapi::ssb::RoleProfile;
use ticketapi::ssb::assertion::{Mode, read_assertion};

const CAPTURE: &[u8] = include_bytes!("data/role-assertion.xml");
/// Every attribute with its values, in order, as another parser found them.
const ATTRIBUTES: &str = include_str!("data/role-assertion.json");

fn values(attributes: &Map<String, Value>, name: &str) -> Vec<String> {
    let values = attributes.get(name).map_or(&[][..], |values| values.as_array().unwrap());
    values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

fn only(attributes: &Map<String, Value>, name: &str) -> Option<String> {
    let mut values = values(attributes, name);
    assert!(values.len() <= 1);
    values.pop()
}

fn attributes_of(profile: &RoleProfile) -> Value {
    let role = &profile.role;
    let job = format!("\"{}\":\"{}\":\"{}\"", role.role_type, role.sub_type, role.name);
    let all = json!({
        "nhsIdCode": [role.organisation_code],
        "o": [role.organisation],
        "nhsJobRole": [job],
        "nhsJobRoleCode": profile.job_role_code.iter().collect::<Vec<_>>(),
        "uniqueIdentifier": [role.id],
        "nhsAreaOfWork": profile.areas_of_work,
        "nhsAreaOfWorkCodes": profile.area_of_work_codes,
        "nhsWorkGroups": profile.workgroups,
        "nhsWorkGroupsCodes": profile.workgroup_codes,
        "nhsBusinessFunctions": profile.business_functions,
        "nhsBusinessFunctionsCodes": profile.business_function_codes,
        "nhsOrgOpenDate": profile.opened.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "nhsOrgCloseDate": profile.closed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "nhsPersonStatus": profile.person_status,
    });
    let Value::Object(all) = all else { unreachable!() };
    all.into_iter().filter(|(_, values)| values != &json!([])).collect::<Map<_, _>>().into()
}

#[test]
fn every_attribute_of_the_capture_is_parsed() {
    let expected: Value = serde_json::from_str(ATTRIBUTES).unwrap();
    let person = expected["person"].as_object().unwrap();
    let read = read_assertion(CAPTURE).unwrap();

    assert_eq!(read.issued.as_deref(), expected["IssueInstant"].as_str());
    assert_eq!(Some(&read.uid), only(person, "uid").as_ref());
    assert_eq!(Some(&read.user_name), only(person, "cn").as_ref());
    assert_eq!(read.prescriber_code, only(person, "nhsOcsPrCode"));
    assert_eq!(read.session_role, only(person, "ssbSessionRoleUid"));
    assert_eq!(read.version, only(person, "ssbAssertionVersion"));
    assert_eq!((read.mode.clone(), only(person, "ssbMode").as_deref()), (Some(Mode::Live), Some("0")));
    assert_eq!(read.roles.iter().map(attributes_of).collect::<Value>(), expected["roles"]);

    assert_eq!(read.session_role(), Some(&read.roles[0]));
    assert_eq!(read.roles[0].business_functions.len(), 9);
}

#[test]
fn the_ticket_in_the_capture_is_not_kept() {
    let shown = format!("{:?}", read_assertion(CAPTURE));
    assert!(shown.contains("TEST USER") && !shown.contains("AQIC"), "{shown}");
}

#[test]
fn a_capture_truncated_anywhere_is_refused_without_quoting_it() {
    let end = CAPTURE.iter().rposition(|&byte| byte == b'>').unwrap();
    for cut in 0..end {
        let refused = format!("{:?}", read_assertion(&CAPTURE[..cut]).unwrap_err());
        assert!(refused.len() < 40, "{cut}: {refused}");
    }
}
