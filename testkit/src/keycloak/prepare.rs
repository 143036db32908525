//! Prepares Keycloak once: its distribution out of the Maven registry, a provider of roles and contexts compiled
//! against it, and a database with the realms. That takes most of a minute, and a start from it a few seconds.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sha::Sha256;
use tempfile::TempDir;

use super::realms;
use crate::artifacts::target_directory;
use crate::error::{Context, Error, Result, read_file, write_file, write_key};
use crate::leash::{Ending, Leash};
use crate::softhsm::run_with_input;

const VERSION: &str = "26.7.5";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";

macro_rules! sources {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("../../keycloak/", $name)))),*] };
}

/// The provider's files, and where they go in its build.
const SOURCES: [(&str, &str); 12] = sources![
    "java/kctest/ContextCheckExecutor.java"
    "java/kctest/ContextMapper.java"
    "java/kctest/ContextsResource.java"
    "java/kctest/Ctx.java"
    "java/kctest/SelectRoleAuthenticator.java"
    "resources/META-INF/beans.xml"
    "resources/META-INF/services/org.keycloak.authentication.AuthenticatorFactory"
    "resources/META-INF/services/org.keycloak.protocol.ProtocolMapper"
    "resources/META-INF/services/org.keycloak.services.clientpolicy.executor.ClientPolicyExecutorProviderFactory"
    "resources/META-INF/services/org.keycloak.services.resource.RealmResourceProviderFactory"
    "resources/theme-resources/messages/messages_en.properties"
    "resources/theme-resources/templates/cis2-select-role.ftl"
];

const JAVA_OPTIONS: [&str; 6] = [
    "-Xms64m",
    "-Xmx512m",
    "-XX:MaxMetaspaceSize=256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dfile.encoding=UTF-8",
];

/// What `kc.sh start --optimized` runs, which itself stays as the parent of it.
const KEYCLOAK_OPTIONS: [&str; 10] = [
    "-XX:+ExitOnOutOfMemoryError",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "-Duser.language=en",
    "-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
    "-Dpicocli.disable.closures=true",
    "-Dquarkus-log-max-startup-records=10000",
];

/// A prepared folder. While this exists, no other process prepares it.
pub(super) struct Prepared {
    folder: PathBuf,
    _in_use: File,
}

impl Prepared {
    /// The folder below `target`, prepared first if it is not, or if it is another version's. Other processes
    /// that want it wait.
    pub(super) fn get() -> Result<Self> {
        let folder = target_directory().join("keycloak");
        std::fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
        let lock = folder.join("lock");
        let lock = File::create(&lock).context(|| format!("cannot open {}", lock.display()))?;
        let version = version();
        let is_current = || read_file(&folder.join("version")).is_ok_and(|is| is == version.as_bytes());
        lock.lock_shared().context(|| "cannot lock Keycloak's folder".into())?;
        if !is_current() {
            lock.unlock().and_then(|()| lock.lock()).context(|| "cannot lock Keycloak's folder".into())?;
            if !is_current() {
                prepare(&folder)?;
                write_file(&folder.join("version"), &version)?;
            }
            lock.lock_shared().context(|| "cannot lock Keycloak's folder".into())?;
        }
        Ok(Self { folder, _in_use: lock })
    }

    /// The private key of the client that signs its requests.
    pub(super) fn client_key(&self) -> Result<Vec<u8>> {
        read_file(&self.folder.join("client.key"))
    }

    /// Starts a Keycloak with a database of its own in `folder`. Returns its port.
    pub(super) fn start(&self, folder: TempDir, options: &[String]) -> Result<(Leash, u16)> {
        let database = folder.path().join("data");
        std::fs::create_dir(&database).context(|| format!("cannot make {}", database.display()))?;
        // Files with other dates than the prepared ones would have it built again.
        run(Command::new("cp").arg("-a").args([self.folder.join("h2"), database.join("h2")]))?;
        start(&self.folder.join("keycloak"), folder, options, &[], Ending::Kill)
    }
}

/// Names everything that the prepared folder is made of.
fn version() -> String {
    let mut hash = Sha256::new();
    for text in
        [include_str!("prepare.rs"), include_str!("realms.rs")].into_iter().chain(SOURCES.map(|source| source.1))
    {
        hash.update(text.as_bytes());
    }
    let hash: String = hash.finish().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{VERSION} {hash}")
}

fn prepare(folder: &Path) -> Result<()> {
    let keycloak = folder.join("keycloak");
    for name in ["version", "keycloak", "h2", "build"] {
        run(Command::new("rm").arg("-rf").arg(folder.join(name)))?;
    }
    let build = folder.join("build");
    fetch(&build, &keycloak)?;
    add_provider(&build, &keycloak)?;

    let key = PKey::from_rsa(Rsa::generate(2048)?)?;
    write_key(&folder.join("client.key"), key.private_key_to_pem_pkcs8()?)?;
    run(Command::new(keycloak.join("bin/kc.sh"))
        .args(["build", "--db=dev-file", "--http-relative-path=/auth"])
        .env("JAVA_OPTS", JAVA_OPTIONS.join(" ")))?;
    fill(&keycloak, &realms::all(&key)?, &folder.join("h2"))?;
    run(Command::new("rm").arg("-rf").arg(build))
}

/// Makes Maven fetch the distribution, if necessary, and unpacks it.
fn fetch(build: &Path, keycloak: &Path) -> Result<()> {
    let artifact = format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip");
    let mut output = OsString::from("-DoutputDirectory=");
    output.push(build);
    run(Command::new("mvn").args(["--batch-mode", "--quiet", "-Dstyle.color=never", COPY, &artifact]).arg(output))
        .map_err(|error| Error::Program {
            program: "mvn".into(),
            problem: format!("Keycloak {VERSION} cannot be fetched (is there a network?): {error}"),
        })?;
    let archive = build.join(format!("keycloak-quarkus-dist-{VERSION}.zip"));
    run(Command::new("unzip").arg("-q").arg(archive).arg("-d").arg(build))?;
    let unpacked = build.join(format!("keycloak-{VERSION}"));
    std::fs::rename(&unpacked, keycloak).context(|| format!("cannot move {}", unpacked.display()))
}

/// Compiles the provider against the distribution's own classes: the registry does not have those apart.
fn add_provider(build: &Path, keycloak: &Path) -> Result<()> {
    let classes = build.join("resources");
    for (name, text) in SOURCES {
        let file = build.join(name);
        let parent = file.parent().unwrap_or(build);
        std::fs::create_dir_all(parent).context(|| format!("cannot make {}", parent.display()))?;
        write_file(&file, text)?;
    }
    let java = SOURCES.iter().filter(|source| source.0.starts_with("java/")).map(|source| build.join(source.0));
    run(Command::new("javac")
        .args(["--release", "17", "-proc:none", "-nowarn", "-cp"])
        .arg(keycloak.join("lib/lib/main/*"))
        .arg("-d")
        .arg(&classes)
        .args(java))?;
    run(Command::new("jar")
        .arg("-c")
        .arg("-f")
        .arg(keycloak.join("providers/ticketapi-testkit.jar"))
        .arg("-C")
        .arg(classes)
        .arg("."))
}

/// Makes a Keycloak import the realms, and keeps its database.
fn fill(keycloak: &Path, realms: &[(&str, String)], database: &Path) -> Result<()> {
    let folder = temporary()?;
    let import = folder.path().join("data/import");
    std::fs::create_dir_all(&import).context(|| format!("cannot make {}", import.display()))?;
    for (name, text) in realms {
        write_file(&import.join(format!("{name}-realm.json")), text)?;
    }
    let options = ["--http-enabled=true", "--http-port=0", "--import-realm"].map(str::to_owned);
    let admin = [("KC_BOOTSTRAP_ADMIN_USERNAME", super::ADMIN), ("KC_BOOTSTRAP_ADMIN_PASSWORD", super::ADMIN)];
    // The database's folder is kept when the rest is removed.
    std::fs::create_dir(database).context(|| format!("cannot make {}", database.display()))?;
    let link = folder.path().join("data/h2");
    std::os::unix::fs::symlink(database, &link).context(|| format!("cannot make {}", link.display()))?;
    start(keycloak, folder, &options, &admin, Ending::Term).map(drop)?;
    // What the import wrote about its first questions.
    run(Command::new("rm").arg("-f").arg(database.join("keycloakdb.trace.db")))
}

/// Starts `keycloak` with `folder` as its home, and waits until it listens. Returns its port.
fn start(
    keycloak: &Path,
    folder: TempDir,
    options: &[String],
    variables: &[(&str, &str)],
    ending: Ending,
) -> Result<(Leash, u16)> {
    let home = folder.path();
    for name in ["conf", "lib", "providers", "themes"] {
        let link = home.join(name);
        std::os::unix::fs::symlink(keycloak.join(name), &link).context(|| format!("cannot make {}", link.display()))?;
    }
    let with = |prefix: &str, path: PathBuf| {
        let mut option = OsString::from(prefix);
        option.push(path);
        option
    };
    let mut command: Vec<OsString> = vec!["java".into()];
    command.extend(JAVA_OPTIONS.iter().chain(&KEYCLOAK_OPTIONS).map(OsString::from));
    command.push(with("-Dkc.home.dir=", home.into()));
    command.push(with("-Djboss.server.config.dir=", home.join("conf")));
    command.extend(["-cp".into(), home.join("lib/quarkus-run.jar").into()]);
    command.extend(["io.quarkus.bootstrap.runner.QuarkusEntryPoint", "start", "--optimized"].map(OsString::from));
    command.extend(["--http-host=127.0.0.1", "--hostname-strict=false", "--cache=local"].map(OsString::from));
    command.extend(options.iter().map(OsString::from));
    let leash = Leash::start(command, variables, folder, ending)?;
    let port = leash.wait_for(Duration::from_secs(300), |line| {
        line.split_once("Listening on: ")
            .and_then(|line| line.1.rsplit_once(':'))
            .and_then(|parts| parts.1.trim().parse().ok())
    })?;
    Ok((leash, port))
}

pub(super) fn temporary() -> Result<TempDir> {
    TempDir::with_prefix("ticketapi-keycloak-").context(|| "cannot make a folder for Keycloak".into())
}

fn run(command: &mut Command) -> Result<()> {
    run_with_input(command, &[]).map(drop)
}
