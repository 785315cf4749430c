//! The component types (collector_config.md 10).
//!
//! Duty: which types are built, which are known. Guarantee: a type is one of [`Standing`]. Left to others: what follows
//! from it in a pipeline (N7, N8: `service`).

/// The five kinds of component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the Collector's")]
pub(super) enum ComponentKind {
    Receiver,
    Processor,
    Exporter,
    Connector,
    Extension,
}

/// What we know of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It runs here.
    Built,
    /// Specified for weavergen, not built yet.
    Coming,
    /// A Collector has it.
    Foreign,
    /// Nobody has it.
    Unknown,
}

impl ComponentKind {
    /// The section, which is also the key in a pipeline.
    pub(super) const fn section(self) -> &'static str {
        match self {
            Self::Receiver => "receivers",
            Self::Processor => "processors",
            Self::Exporter => "exporters",
            Self::Connector => "connectors",
            Self::Extension => "extensions",
        }
    }

    /// The word in messages.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Processor => "processor",
            Self::Exporter => "exporter",
            Self::Connector => "connector",
            Self::Extension => "extension",
        }
    }

    const fn built(self) -> &'static [&'static str] {
        match self {
            Self::Receiver => &["nop", "otlp"],
            Self::Processor => &["batch", "memory_limiter"],
            Self::Exporter => &["debug", "nop", "weavergen"],
            Self::Connector => &[],
            Self::Extension => &["health_check"],
        }
    }

    const fn coming(self) -> &'static [&'static str] {
        match self {
            Self::Receiver => &["otlp_json_file"],
            Self::Processor => {
                &["attributes", "filter", "probabilistic_sampler", "resource", "tail_sampling", "transform"]
            }
            Self::Exporter => &["file", "otlp_grpc", "otlp_http"],
            Self::Connector => &["forward", "span_metrics"],
            Self::Extension => &["basicauth", "bearertokenauth", "file_storage"],
        }
    }

    /// Old spellings and the types they name.
    const fn aliases(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Receiver => &[("otlpjsonfile", "otlp_json_file")],
            Self::Processor => &[],
            Self::Exporter => &[("otlp", "otlp_grpc"), ("otlphttp", "otlp_http")],
            Self::Connector => &[("spanmetrics", "span_metrics")],
            Self::Extension => &[("basic_auth", "basicauth"), ("bearer_token_auth", "bearertokenauth")],
        }
    }

    /// The type that `word` stands for.
    pub(super) fn resolve(self, word: &str) -> &str {
        self.aliases().iter().find(|(old, _)| *old == word).map_or(word, |(_, new)| new)
    }

    /// What we know of the type `word`, an alias included.
    pub(super) fn standing(self, word: &str) -> Standing {
        let word = self.resolve(word);
        if self.built().contains(&word) {
            Standing::Built
        } else if self.coming().contains(&word) {
            Standing::Coming
        } else if self.foreign().split_ascii_whitespace().any(|known| known == word) {
            Standing::Foreign
        } else {
            Standing::Unknown
        }
    }

    /// Types that mean something here, sorted.
    pub(super) fn known(self) -> Vec<&'static str> {
        let mut known: Vec<&str> = self.built().iter().chain(self.coming()).copied().collect();
        known.sort_unstable();
        known
    }

    /// Types of the Collector's distributions that are not ours.
    const fn foreign(self) -> &'static str {
        match self {
            Self::Receiver => {
                "active_directory_ds aerospike apache apachespark awscloudwatch awscontainerinsight \
                 awscontainerinsightreceiver awsecscontainermetrics awsfirehose awslambda awss3 awsxray azureblob \
                 azureeventhub azure_event_hub azuremonitor bigip carbon chrony ciscoos cloudflare cloudfoundry \
                 collectd couchdb datadog docker_observer docker_stats elasticsearch envoyals expvar faro file_log \
                 filelog filestats flinkmetrics fluent_forward fluentforward github gitlab googlecloudmonitoring \
                 googlecloudpubsub googlecloudpubsubpush googlecloudspanner haproxy host_metrics hostmetrics \
                 httpcheck huaweicloudces ibmmq icmpcheck iis influxdb jaeger jmx journald k8s_cluster k8s_events \
                 k8sobjects k8s_objects kafka kafkametrics kafka_metrics kubeletstats kubelet_stats libhoney loki \
                 memcached mongodb mongodbatlas mysql named_pipe namedpipe netflow netstat nginx nsxt ntp oracledb \
                 opencensus osquery otelarrow otlp_arrow podman_stats postgresql pprof prometheus \
                 prometheus_remote_write prometheusremotewrite prometheus_simple pulsar purefa purefb rabbitmq \
                 receiver_creator redfish redis redisstorage riak saphana sapm signalfx simpleprometheus \
                 skywalking snmp snowflake solace splunk_hec splunkenterprise sqlquery sqlserver sshcheck statsd \
                 stef syslog systemd tcpcheck tcplog tcp_log tlscheck udplog udp_log vcenter vcr wavefront \
                 webhookevent windowseventlog windows_event_log windowsperfcounters windowsservice \
                 yanggrpc zipkin zookeeper"
            }
            Self::Processor => {
                "coralogix coralogixprocessor cumulativetodelta datadogsemantics deltatocumulative deltatorate \
                 dnslookup drain experimental_metricsgeneration experimental_metricstransform geoip groupbyattrs \
                 groupbytrace interval isolationforest k8s_attributes k8sattributes logdedup log_dedup logstransform \
                 lookup metricsgeneration metricstarttime metricstransform redaction remotetap resourcedetection \
                 resource_detection routing schema servicegraph span spanmetrics spanpruning sumologic \
                 unroll"
            }
            Self::Exporter => {
                "alertmanager alibabacloud_logservice awscloudwatchlogs awsemf awskinesis awss3 awsxray \
                 azureblob azuredataexplorer azuremonitor azure_monitor bmchelix carbon cassandra clickhouse coralogix \
                 datadog dataset doris dynatrace elasticsearch faro googlecloud googlecloudpubsub \
                 googlecloudstorage googlemanagedprometheus honeycombmarker influxdb instana jaeger kafka kinetica \
                 load_balancing loadbalancing logicmonitor logzio loki mezmo opencensus opensearch otelarrow \
                 otlp_arrow prometheus prometheus_remote_write prometheusremotewrite pulsar rabbitmq sapm sematext \
                 sentry signalfx skywalking splunk_hec stef sumologic syslog tencentcloud_logservice tinybird \
                 tracefold wavefront zipkin"
            }
            Self::Connector => {
                "count datadog exceptions failover grafanacloud metricsaslogs otlpjson roundrobin routing \
                 service_graph servicegraph signaltometrics signal_to_metrics slowsql spanmetricsconnector sum"
            }
            Self::Extension => {
                "ack asapclient avro_log_encoding awscloudwatchmetricstreams_encoding aws_logs_encoding \
                 awsproxy azureauth azure_auth azure_encoding cfgardenobserver cgroupruntime cgroup_runtime datadog \
                 db_storage docker_observer ecs_observer ecs_task_observer file_storage_client googleclientauth \
                 googlecloudlogentry_encoding headers_setter healthcheckv2 host_observer http_forwarder \
                 jaeger_encoding jaegerremotesampling jaeger_remote_sampling json_log_encoding k8s_leader_elector \
                 k8s_observer kafkatopics_observer memory_ballast memory_limiter oauth2client oidc opamp \
                 otlp_encoding pprof redis_storage remotetap sigv4auth skywalking_encoding solarwindsapmsettings \
                 sumologic text_encoding zipkin_encoding zpages"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_where_its_type_stands() {
        assert_eq!(ComponentKind::Exporter.standing("otlp"), Standing::Coming);
        assert_eq!(ComponentKind::Receiver.standing("otlp"), Standing::Built);
        assert_eq!(ComponentKind::Receiver.standing("jaeger"), Standing::Foreign);
        assert_eq!(ComponentKind::Exporter.standing("logging"), Standing::Unknown);
        assert_eq!(ComponentKind::Extension.resolve("basic_auth"), "basicauth");
    }

    #[test]
    fn no_type_stands_in_two_places() {
        for kind in [
            ComponentKind::Receiver,
            ComponentKind::Processor,
            ComponentKind::Exporter,
            ComponentKind::Connector,
            ComponentKind::Extension,
        ] {
            let mut all: Vec<&str> = kind.known();
            all.extend(kind.foreign().split_ascii_whitespace());
            all.extend(kind.aliases().iter().map(|(old, _)| *old));
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "{kind:?}");
        }
    }
}
