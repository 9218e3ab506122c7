package server

import "github.com/prometheus/client_golang/prometheus"

// expiry exports when the certificates end that the hosts show; which hosts there are changes with a reload.
type expiry struct{ house *house }

var expiryDesc = prometheus.NewDesc("jackdaw_certificate_expiry_seconds",
	"When the certificate of a host ends, in seconds since 1970.", []string{"host"}, nil)

// Describe names the one metric.
func (e expiry) Describe(out chan<- *prometheus.Desc) { out <- expiryDesc }

// Collect reads the certificates in use.
func (e expiry) Collect(out chan<- prometheus.Metric) {
	for _, host := range e.house.cfg.Load().Hosts {
		if c := e.house.certs.Certificate(host.Domain); c != nil && c.Leaf != nil {
			out <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(c.Leaf.NotAfter.Unix()),
				host.Domain)
		}
	}
}
