#[automatically_derived]
impl ::airssys_osl::Statement for Mail {
    const NAME: &'static str = "mail.send";
    fn state(&self) -> ::std::vec::Vec<::airssys_osl::Access> {
        let mut accesses = ::std::vec::Vec::new();
        ::airssys_osl::glue::host(&mut accesses, ::airssys_osl::HostFacility::Clock);
        ::airssys_osl::glue::own(&mut accesses, "send", &self.to);
        ::airssys_osl::glue::file(
            &mut accesses,
            ::airssys_osl::FileVerb::Read,
            &self.attached,
        );
        ::airssys_osl::glue::file(
            &mut accesses,
            ::airssys_osl::FileVerb::Stat,
            &self.attached,
        );
        ::airssys_osl::glue::net(
            &mut accesses,
            ::airssys_osl::NetVerb::Resolve,
            &self.server,
            ::core::option::Option::None,
        );
        ::airssys_osl::glue::net(
            &mut accesses,
            ::airssys_osl::NetVerb::Connect,
            &self.server,
            ::core::option::Option::Some(self.port),
        );
        ::airssys_osl::glue::env(&mut accesses, &self.user);
        ::airssys_osl::glue::secret(&mut accesses, &self.credential_name);
        accesses
    }
    fn fields(&self, fields: &mut ::airssys_osl::Fields<'_>) {
        fields.show("credential", &self.credential_name);
        fields.show("type", &self.r#type);
        fields.redacted("key");
    }
    fn bytes_max(&self) -> u64 {
        let mut bytes = 0u64;
        {
            bytes = u64::saturating_add(bytes, self.body.len() as u64);
        }
        bytes
    }
}
