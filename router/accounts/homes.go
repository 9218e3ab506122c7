package accounts

// SetHomes says which accounts are at home on this node, by their bare addresses: what is known of others is not kept,
// since other nodes change them. It comes before anything is served.
func (s *Service) SetHomes(here func(user string) bool) {
	s.rights.here.Store(&here)
	s.vouched.here.Store(&here)
	s.users.remembered.here.Store(&here)
	none := func(string) bool { return false } // any node may change what programs may do
	s.api.remembered.here.Store(&none)
}

// Moved forgets what is known of accounts, some of which are at home elsewhere from now on.
func (s *Service) Moved() {
	s.rights.clear()
	s.vouched.clear()
	s.users.remembered.clear()
}
