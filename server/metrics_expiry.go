package server

import "github.com/prometheus/client_golang/prometheus"

// expiry exports when the certificates end that are shown for hosts and their services, and how often those have failed
// that come by themselves; which there are changes with a reload.
type expiry struct{ house *house }

var (
	expiryDesc = prometheus.NewDesc("jackdaw_certificate_expiry_seconds",
		"When the certificate of a host, or of a service with one of its own, ends, in seconds since 1970.",
		[]string{"host"}, nil)
	failuresDesc = prometheus.NewDesc("jackdaw_certificate_failures",
		"Attempts to get a certificate that have failed one after the other.", []string{"host"}, nil)
)

// Describe names the metrics.
func (e expiry) Describe(out chan<- *prometheus.Desc) {
	out <- expiryDesc
	out <- failuresDesc
}

// Collect reads the certificates in use.
func (e expiry) Collect(out chan<- prometheus.Metric) {
	for _, w := range e.house.certificatesShown() {
		out <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(w.leaf.NotAfter.Unix()), w.domain)
	}
	for _, one := range e.house.issued.Status() {
		out <- prometheus.MustNewConstMetric(failuresDesc, prometheus.GaugeValue, float64(one.Failures), one.Name)
	}
}

// issued exports how it goes with certificates that come by themselves.
func (m *metrics) issued(h *house) {
	m.counters([]counter{
		{"jackdaw_certificates_obtained_total", "Certificates that came by themselves.", h.issued.Stats.Obtained.Load},
		{"jackdaw_certificate_orders_failed_total", "Orders that came to nothing.", h.issued.Stats.Failed.Load},
	})
}
