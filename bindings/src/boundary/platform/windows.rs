//! Windows, where nothing forks.

use std::path::{Path, PathBuf};

use ticketapi_platform::module;

/// Has the library stay loaded, as `-z nodelete` does elsewhere. Called when the library is first used, not from
/// DllMain.
pub(crate) fn on_fork(_: extern "C" fn()) {
    module::pin();
}

/// The folder of the file that contains this code.
pub(crate) fn library_folder() -> Option<PathBuf> {
    module::path().ok()?.parent().map(Path::to_owned)
}
