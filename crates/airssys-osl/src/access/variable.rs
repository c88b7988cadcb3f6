//! Variables of the environment that decide what code a program loads or starts.
//!
//! Whoever sets one of these for a program that may be run makes it run something else. Neither a pattern nor silence allows
//! that: a rule has to write the name. The list cannot be complete, as every program may have variables of its own; a policy that
//! lets somebody choose the environment of a program has to know that program.

/// Names, each with what reads it.
const NAMES: &[&str] = &[
    // Shells, and what they start.
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "ENV",
    "FPATH",
    "GLOBIGNORE",
    "IFS",
    "PATH",
    "PROMPT_COMMAND",
    "PS4",
    "SHELL",
    "SHELLOPTS",
    "ZDOTDIR",
    // Where programs look for their configuration, which can name programs.
    "HOME",
    // Programs that others start.
    "BROWSER",
    "EDITOR",
    "LESSCLOSE",
    "LESSOPEN",
    "MANPAGER",
    "PAGER",
    "SSH_ASKPASS",
    "SUDO_ASKPASS",
    "VISUAL",
    // The C library and what it loads.
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCPATH",
    "MALLOC_CHECK_",
    "NLSPATH",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "RESOLV_HOST_CONF",
    "TERMINFO",
    "TERMINFO_DIRS",
    // Interpreters.
    "CLASSPATH",
    "ERL_FLAGS",
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "RUBYLIB",
    "RUBYOPT",
    // Build tools.
    "CARGO_BUILD_RUSTC",
    "CC",
    "CXX",
    "GREP_OPTIONS",
    "MAKEFLAGS",
    "MAKEFILES",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "TAR_OPTIONS",
];

const PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "CARGO_TARGET_",
    "DOTNET_",
    "DYLD_",
    "GIT_",
    "LD_",
    "NPM_CONFIG_",
    "PYTHON",
    "XDG_",
    "npm_config_",
];

/// Whether a variable of this name decides what code a program loads or starts.
pub(crate) fn chooses_code(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
