#[automatically_derived]
impl ::airssys_osl::Statement for Now {
    const NAME: &'static str = "now";
    fn state(&self) -> ::std::vec::Vec<::airssys_osl::Access> {
        let mut accesses = ::std::vec::Vec::new();
        ::airssys_osl::glue::host(&mut accesses, ::airssys_osl::HostFacility::Clock);
        accesses
    }
}
