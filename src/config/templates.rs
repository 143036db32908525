//! The templates for Group Policy, made from the table of settings and from docs/settings.md, which explains each.

use std::fmt::Write as _;
use std::path::Path;

use super::Config;
use super::registry::Kind;

const PAGE: &str = include_str!("../../docs/settings.md");

/// What a policy is edited with.
enum Element {
    Choice(Vec<String>),
    Number { least: u32, most: u32 },
    YesNo,
    List,
    Text,
}

/// The element for `key`, by what its check accepts and says.
fn element(key: &str) -> Element {
    let problem = Config::default().apply(key, "no value\u{7}", Path::new("")).err().unwrap_or_default();
    match Kind::of(key) {
        Kind::YesNo => Element::YesNo,
        Kind::List => Element::List,
        Kind::Number => {
            let (_, range) = problem.split_once(" from ").unwrap();
            let (least, most) = range.split_once(" to ").unwrap();
            Element::Number { least: least.parse().unwrap(), most: most.parse().unwrap() }
        }
        Kind::Text => match problem.split_once(" is not one of ") {
            Some((_, choices)) => Element::Choice(choices.split(", ").map(str::to_owned).collect()),
            None => Element::Text,
        },
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Meaning and default of `key`, from its row of the page.
fn explanation(key: &str) -> String {
    let start = format!("| `{key}` | `TICKETAPI_");
    let row = PAGE.lines().find(|row| row.starts_with(&start)).unwrap().replace('`', "");
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    let meaning = cells[3].split_once("; see [").map_or(cells[3], |(meaning, _)| meaning);
    let default = if cells[4].is_empty() { String::new() } else { format!(" Default: {}.", cells[4]) };
    format!("{key}: {meaning}.{default}")
}

fn admx() -> String {
    let mut policies = String::new();
    for key in Config::keys() {
        let attributes = format!(
            "name=\"{key}\" class=\"Both\" displayName=\"$(string.{key})\" explainText=\"$(string.{key}_help)\" \
             key=\"SOFTWARE\\Policies\\ticketapi\""
        );
        let category = "      <parentCategory ref=\"ticketapi\" />\n      <supportedOn ref=\"windows10\" />\n";
        let element = match element(key) {
            Element::YesNo => {
                let _ = write!(
                    policies,
                    "    <policy {attributes} valueName=\"{key}\">\n{category}      \
                     <enabledValue><decimal value=\"1\" /></enabledValue>\n      \
                     <disabledValue><decimal value=\"0\" /></disabledValue>\n    </policy>\n"
                );
                continue;
            }
            Element::Number { least, most } => format!(
                "<decimal id=\"{key}\" valueName=\"{key}\" required=\"true\" minValue=\"{least}\" maxValue=\"{most}\" />"
            ),
            Element::List => format!("<multiText id=\"{key}\" valueName=\"{key}\" required=\"true\" />"),
            Element::Text => {
                format!("<text id=\"{key}\" valueName=\"{key}\" required=\"true\" maxLength=\"4096\" />")
            }
            Element::Choice(choices) => {
                let items: String = choices
                    .iter()
                    .map(|choice| {
                        format!(
                            "          <item displayName=\"$(string.{key}_{choice})\">\
                             <value><string>{choice}</string></value></item>\n"
                        )
                    })
                    .collect();
                format!("<enum id=\"{key}\" valueName=\"{key}\" required=\"true\">\n{items}        </enum>")
            }
        };
        let _ = write!(
            policies,
            "    <policy {attributes} presentation=\"$(presentation.{key})\">\n{category}      \
             <elements>\n        {element}\n      </elements>\n    </policy>\n"
        );
    }
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<!-- Made from the table of settings: see src/config/templates.rs. -->
<policyDefinitions xmlns="http://schemas.microsoft.com/GroupPolicy/2006/07/PolicyDefinitions" revision="1.0" schemaVersion="1.0">
  <policyNamespaces>
    <target prefix="ticketapi" namespace="ticketapi.policies" />
    <using prefix="windows" namespace="Microsoft.Policies.Windows" />
  </policyNamespaces>
  <resources minRequiredRevision="1.0" />
  <supportedOn>
    <definitions>
      <definition name="windows10" displayName="$(string.windows10)" />
    </definitions>
  </supportedOn>
  <categories>
    <category name="ticketapi" displayName="$(string.ticketapi)" />
  </categories>
  <policies>
{policies}  </policies>
</policyDefinitions>
"#
    )
}

fn adml() -> String {
    let (mut strings, mut presentations) = (String::new(), String::new());
    for key in Config::keys() {
        let _ = writeln!(strings, "      <string id=\"{key}\">{key}</string>");
        let _ = writeln!(strings, "      <string id=\"{key}_help\">{}</string>", escaped(&explanation(key)));
        let control = match element(key) {
            Element::YesNo => continue,
            Element::Number { .. } => format!("<decimalTextBox refId=\"{key}\">{key}</decimalTextBox>"),
            Element::List => format!("<multiTextBox refId=\"{key}\" />"),
            Element::Text => format!("<textBox refId=\"{key}\"><label>{key}</label></textBox>"),
            Element::Choice(choices) => {
                for choice in choices {
                    let _ = writeln!(strings, "      <string id=\"{key}_{choice}\">{choice}</string>");
                }
                format!("<dropdownList refId=\"{key}\" noSort=\"true\">{key}</dropdownList>")
            }
        };
        let _ = writeln!(presentations, "      <presentation id=\"{key}\">{control}</presentation>");
    }
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<!-- Made from the table of settings: see src/config/templates.rs. -->
<policyDefinitionResources xmlns="http://schemas.microsoft.com/GroupPolicy/2006/07/PolicyDefinitions" revision="1.0" schemaVersion="1.0">
  <displayName>ticketapi</displayName>
  <description>The settings of ticketapi</description>
  <resources>
    <stringTable>
      <string id="ticketapi">ticketapi</string>
      <string id="windows10">Windows 10 and later</string>
{strings}    </stringTable>
    <presentationTable>
{presentations}    </presentationTable>
  </resources>
</policyDefinitionResources>
"#
    )
}

/// With the variable `UPDATE_TEMPLATES` it writes the files instead.
#[test]
fn the_templates_for_group_policy_are_those_of_the_table_of_settings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/windows");
    for (name, text) in [("ticketapi.admx", admx()), ("en-US/ticketapi.adml", adml())] {
        let file = folder.join(name);
        if std::env::var_os("UPDATE_TEMPLATES").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            continue;
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(committed == text, "{name} is out of date: run this test with UPDATE_TEMPLATES=1 and commit it");
    }
}

#[test]
fn every_text_and_presentation_that_a_policy_names_is_there() {
    let (policies, texts) = (admx(), adml());
    for (start, element) in [("$(string.", "string"), ("$(presentation.", "presentation")] {
        let names: Vec<_> = policies.split(start).skip(1).filter_map(|rest| rest.split_once(')')).collect();
        assert!(names.len() > 50, "{element}");
        for (name, _) in names {
            assert!(texts.contains(&format!("<{element} id=\"{name}\">")), "{element} {name}");
        }
    }
}
