package archive

import "jackdaw/router"

func (a *Archive) retract(e *router.Envelope, n entry) {}
