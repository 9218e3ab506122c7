package admin

import "context"

// UserDevices lists the devices of an account.
func (s *Service) UserDevices(ctx context.Context, address string) ([]DeviceInfo, error) {
	j, err := user(address)
	if err != nil {
		return nil, err
	}
	var there []DeviceInfo
	if passed, err := s.pass(ctx, Command, j, "user.devices", NameRequest{address}, &there); passed {
		return there, err
	}
	list, err := s.o.Devices.List(ctx, j)
	if err != nil {
		return nil, err
	}
	sessions := map[string]int{}
	for _, one := range s.sessionsOf(j) {
		sessions[one.Device]++
	}
	out := make([]DeviceInfo, len(list))
	for i, d := range list {
		out[i] = DeviceInfo{ID: d.ID, Software: d.Software, Name: d.Name, First: d.First, Last: d.Last,
			Mechanism: string(d.Mechanism), Password: d.Password, Token: d.Token, Expires: d.Expires,
			Sessions: sessions[d.ID]}
	}
	return out, nil
}

// RevokeDevice takes the right to log in by token from a device, ends its sessions and forgets it. knows says that it
// has shown the password, and can come back with it.
func (s *Service) RevokeDevice(ctx context.Context, by By, address, id string) (knows bool, err error) {
	j, err := user(address)
	if err != nil {
		return false, err
	}
	if passed, err := s.pass(ctx, by, j, "user.devices.revoke", DeviceRequest{address, id}, &knows); passed {
		return knows, err
	}
	list, err := s.o.Devices.List(ctx, j)
	if err != nil {
		return false, err
	}
	for _, d := range list {
		knows = knows || d.ID == id && d.Password
	}
	return knows, s.said(s.o.Devices.Remove(ctx, j, id), by, "device removed", "account", j, "device", id)
}
