//! What does not compile, and what is said of it: one file per mistake.

#[test]
fn what_the_derive_refuses_is_told_the_right_form() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}

#[test]
fn l5_an_effect_without_a_permit_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/unpermitted/*.rs");
}
