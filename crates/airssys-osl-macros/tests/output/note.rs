#[automatically_derived]
impl<T: Clone, const N: usize> facade::osl::Statement for Note<T, N>
where
    T: PartialEq,
    Self: ::core::marker::Send + 'static,
    FilePath: ::core::fmt::Display,
    T: ::core::fmt::Display,
{
    const NAME: &'static str = "note.keep";
    fn state(&self) -> ::std::vec::Vec<facade::osl::Access> {
        let mut accesses = ::std::vec::Vec::new();
        facade::osl::glue::own(&mut accesses, "keep", &self.key);
        #[cfg(feature = "files")]
        facade::osl::glue::file(&mut accesses, facade::osl::FileVerb::Write, &self.file);
        accesses
    }
    fn fields(&self, fields: &mut facade::osl::Fields<'_>) {
        #[cfg(feature = "files")] fields.show("path", &self.file);
        fields.show("value", &self.value);
        fields.redacted("hidden");
    }
    fn bytes_max(&self) -> u64 {
        let mut bytes = 0u64;
        #[cfg(feature = "files")]
        {
            bytes = u64::saturating_add(bytes, self.file.len() as u64);
        }
        bytes
    }
}
