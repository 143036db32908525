//! Prints the C header, made from the documented Rust of `bindings/`.

use std::path::Path;
use std::process::ExitCode;

const WIDTH: usize = 100;

fn main() -> ExitCode {
    match generate(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")) {
        Ok(header) => {
            print!("{header}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn generate(folder: &Path) -> Result<String, String> {
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml"))?;
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in ["status.rs", "c.rs", "prompter.rs", "session.rs", "browser.rs", "nuts.rs", "sign.rs"] {
        builder = builder.with_src(folder.join("src").join(source));
    }
    let bindings = builder.generate().map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).map_err(|error| error.to_string())?;
    let page = std::fs::read_to_string(folder.join("../docs/settings.md")).map_err(|error| error.to_string())?;
    let text = text.replace("@SETTINGS@", &settings(&page)?);
    // Two slashes are no comment in C90.
    let text = text.replace(" // __cplusplus", "").replace(" // extern \"C\"", "");
    let text: Vec<_> = text.lines().map(str::trim_end).collect();
    let text: Vec<_> = text.into_iter().map(in_hexadecimal).collect();
    with_old_names(&text.join("\n"))
}

/// The settings as lines of a C comment. A test keeps their table complete.
fn settings(page: &str) -> Result<String, String> {
    let mut lines = String::new();
    for row in page.lines().filter(|row| row.starts_with("| `") && row.contains("` | `TICKETAPI_")) {
        let row = row.replace('`', "");
        let [_, key, _, meaning, default, _] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            return Err(format!("docs/settings.md has a row with other columns: {row}"));
        };
        let default = if default.is_empty() { String::new() } else { format!(" ({default})") };
        let meaning = meaning.split_once("; see [").map_or(meaning, |(meaning, _)| meaning);
        let text = format!("{meaning}{default}");
        let mut line = format!(" *     {key:<20}");
        for word in text.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                lines.push_str(&line);
                lines.push('\n');
                line = format!(" *     {:<20}", "");
            }
            line = format!("{line} {word}");
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    if lines.is_empty() { Err("docs/settings.md has no table of settings".into()) } else { Ok(lines) }
}

/// cbindgen writes codes as decimal numbers, which nobody can read.
fn in_hexadecimal(line: &str) -> String {
    let code = line.strip_prefix("#define ").and_then(|define| define.rsplit_once(' '));
    let number = code.and_then(|(_, value)| value.strip_suffix('u')?.parse::<u32>().ok());
    match (code, number) {
        (Some((name, _)), Some(number)) if number > 0xffff => format!("#define {name} 0x{number:08X}u"),
        _ => line.to_owned(),
    }
}

/// Adds the names with an underscore: as functions, or as types where the client wants them so.
fn with_old_names(text: &str) -> Result<String, String> {
    const START: &str = "extern \"C\" {\n#endif\n";
    const END: &str = "#ifdef __cplusplus\n}\n#endif\n";
    const DLL: &str = "unsigned int GetDllVersion(void);\n";
    let parts = text.split_once(START).and_then(|(types, rest)| Some((types, rest.rsplit_once(END)?)));
    let (before, (declarations, end)) = parts.ok_or("the header has no part for C++")?;
    let old: Vec<_> = declarations.split(";\n").filter_map(old_prototype).collect();
    if old.is_empty() || !declarations.contains(DLL) {
        return Err("the header lacks the old functions".into());
    }
    let declarations = declarations.replace(DLL, &format!("#ifndef TICKETAPI_FUNCTION_TYPES\n{DLL}#endif\n"));
    let lines = |prefix: &str| old.iter().map(|prototype| format!("{prefix}{prototype};\n")).collect::<String>();
    let (types, functions) = (lines("typedef "), lines(""));
    Ok(format!(
        "{before}{START}{declarations}\
/*
 * The names that old clients look up with dlsym(). Clients that declare their pointers as
 * `_TcktApi_getTicket *get_ticket` define TICKETAPI_FUNCTION_TYPES before they include this header:
 * each of these names, and GetDllVersion, is then the type of its function.
 */
#ifdef TICKETAPI_FUNCTION_TYPES
typedef {DLL}{types}#else
{functions}#endif

{END}{end}
"
    ))
}

/// The prototype at the end of `text`, with an underscore before its name, when it is one of the old API.
fn old_prototype(text: &str) -> Option<String> {
    let (_, prototype) = text.rsplit_once("*/\n").unwrap_or(("", text));
    let prototype = prototype.split_whitespace().collect::<Vec<_>>().join(" ");
    let (name, _) = prototype.split_once('(')?;
    let (result, name) = name.rsplit_once(' ')?;
    let old = name.starts_with("TcktApi_") || name == "GetDllVersion";
    old.then(|| prototype.replacen(&format!("{result} {name}"), &format!("{result} _{name}"), 1))
}
