//! Files that are loaded, and files that are not.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};
use switcher_plugin_abi::host::{self, LoadError};
use switcher_plugin_abi::testing::Library;

/// A library of C.
fn compiled(code: &str) -> Library {
    let library = Library::at("c");
    let source = library.path().with_extension("c");
    std::fs::write(&source, code).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let status = Command::new("cc")
        .args(["-std=c99", "-shared", "-fPIC", "-Wl,-z,lazy", "-I"])
        .args([&include, &source])
        .arg("-o")
        .arg(library.path())
        .status()
        .unwrap();
    assert!(status.success());
    set_permissions(library.path(), Permissions::from_mode(0o755)).unwrap();
    library
}

fn refused(library: &Library) -> String {
    host::load(&library.path(), None).unwrap_err().to_string()
}

#[test]
fn library_is_loaded_once() {
    let library = Library::built("naughty");

    let first = host::load(&library.path(), None).unwrap();
    let second = host::load(&library.path(), None).unwrap();

    assert!(std::sync::Arc::ptr_eq(&first, &second));
    assert_eq!((&*first.name, &*first.version), ("plugin-naughty", env!("CARGO_PKG_VERSION")));
    assert_eq!(first.abi_minor, 0);
    assert_eq!((first.dialects.len(), first.sources.len()), (1, 1));
}

#[test]
fn checksum_must_be_that_of_the_file() {
    let library = Library::built("naughty");
    let content = std::fs::read(library.path()).unwrap();
    let sum = hex::encode_upper(Sha256::digest(content));

    let other = host::load(&library.path(), Some(&"0".repeat(64))).unwrap_err();

    assert!(matches!(&other, LoadError::OtherFile(found) if found.eq_ignore_ascii_case(&sum)));
    host::load(&library.path(), Some(&sum)).unwrap();
}

#[test]
fn file_that_others_may_change_is_not_loaded() {
    let library = Library::built("naughty");
    set_permissions(library.path(), Permissions::from_mode(0o775)).unwrap();
    let of_file = refused(&library);
    set_permissions(library.path(), Permissions::from_mode(0o755)).unwrap();
    let folder = library.path().parent().unwrap().to_owned();
    set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let of_folder = refused(&library);
    set_permissions(&folder, Permissions::from_mode(0o1777)).unwrap();

    assert!(of_file.starts_with("it can be written to by others (775)"), "{of_file}");
    assert!(of_folder.starts_with("its folder can be written to by others (777)"), "{of_folder}");
    host::load(&library.path(), None).expect("in a sticky folder only its owner can replace it");
}

#[test]
fn what_is_no_plug_in_is_told() {
    let missing = Library::at("missing");
    assert!(refused(&missing).starts_with("cannot be read: No such file"));

    let text = Library::at("text");
    std::fs::write(text.path(), "no library").unwrap();
    set_permissions(text.path(), Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&text).contains("file too short"), "{}", refused(&text));

    let other = compiled("int add(int a, int b) { return a + b; }");
    assert_eq!(refused(&other), "it has no symbol switcher_plugin_v1; is it a plug-in?");
}

#[test]
fn another_major_version_is_told() {
    let library = compiled("void switcher_plugin_v2(void) {}");

    let told = "it is built for version 2 of the plug-in ABI, this program has version 1";
    assert_eq!(refused(&library), told);
}

/// It is found when it is loaded, not when the first miner comes.
#[test]
fn function_that_is_missing_from_its_libraries_is_told() {
    let library = compiled(
        "#include \"switcher_plugin.h\"
        extern int nowhere_to_be_found(void);
        const SwPlugin *switcher_plugin_v1(const SwHost *host, SwError *error) {
            (void)host; error->size = nowhere_to_be_found(); return NULL;
        }",
    );

    assert!(refused(&library).contains("undefined symbol: nowhere_to_be_found"));
}

#[test]
fn plug_in_that_does_not_want_to_is_told_with_its_reason() {
    let library = compiled(
        "#include \"switcher_plugin.h\"
        #include <string.h>
        const SwPlugin *switcher_plugin_v1(const SwHost *host, SwError *error) {
            (void)host; strcpy(error->problem, \"it rains\"); return NULL;
        }",
    );

    assert_eq!(refused(&library), "it refuses to work with this program: it rains");
}

#[test]
fn tables_that_lack_something_are_refused() {
    let library = compiled(
        "#include \"switcher_plugin.h\"
        static const SwDialect dialect = {
            .size = sizeof(SwDialect),
            .name = { (const uint8_t *)\"c\", 1 },
            .family = { (const uint8_t *)\"c\", 1 },
            .algorithm = { (const uint8_t *)\"c\", 1 },
        };
        static const SwDialect *const dialects[] = { &dialect };
        static const SwPlugin plugin = {
            .size = sizeof(SwPlugin),
            .name = { (const uint8_t *)\"c\", 1 },
            .dialects = dialects,
            .n_dialects = 1,
        };
        const SwPlugin *switcher_plugin_v1(const SwHost *host, SwError *error) {
            (void)host; (void)error; return &plugin;
        }",
    );

    assert_eq!(refused(&library), "what it offers makes no sense: a dialect lacks a function");
}
