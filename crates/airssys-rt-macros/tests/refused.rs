//! What the macros refuse, and what they say: one file per mistake in `tests/refused`.

#[test]
fn what_the_macros_refuse_is_told_the_right_form() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
