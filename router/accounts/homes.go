package accounts

import "jackdaw/xmpp/jid"

// SetHomes says which accounts are at home on this node, by their bare addresses: what is known of others is not kept,
// since other nodes change them. It comes before anything is served.
func (s *Service) SetHomes(here func(user string) bool) {
	s.rights.here.Store(&here)
	s.vouched.here.Store(&here)
	s.users.remembered.here.Store(&here)
	none := func(string) bool { return false } // any node may change what programs may do
	s.api.remembered.here.Store(&none)
}

// IsHome says whether an account is at home on this node. What is done for all accounts now and then is done there: so
// it is done once, and where the rows of the account may be written.
func (s *Service) IsHome(user jid.JID) bool {
	here := s.rights.here.Load()
	return here == nil || (*here)(user.Bare().String())
}

// Moved forgets what is known of accounts, some of which are at home elsewhere from now on.
func (s *Service) Moved() {
	s.rights.clear()
	s.vouched.clear()
	s.users.remembered.clear()
}
