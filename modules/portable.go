package modules

import "jackdaw/router"

// Portable says of all modules, those that are off too, how what they keep is exported and imported.
func (s *Set) Portable() (all []router.Portable) {
	for _, m := range s.list {
		all = append(all, m.Portable...)
	}
	return all
}
