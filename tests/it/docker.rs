//! The container image's configuration, against the loader.

use std::path::Path;

use weavergen::config::{Environment, Request, load};

#[test]
fn the_shipped_configuration_loads_and_listens_where_the_image_exposes() {
    let request = Request { sources: vec!["docker/weavergen.yaml".to_owned()], ..Request::default() };
    let config = load(&request, &Environment::default()).unwrap().config;
    let receiver = &config.receivers[0];
    let endpoints = [
        receiver.grpc.as_ref().unwrap().endpoint.as_str(),
        receiver.http.as_ref().unwrap().endpoint.as_str(),
        &config.web.endpoint,
        config.telemetry.metrics_endpoint.as_deref().unwrap(),
        &config.health[0].endpoint,
    ];
    assert_eq!(endpoints, ["0.0.0.0:4317", "0.0.0.0:4318", "0.0.0.0:8080", "0.0.0.0:8888", "0.0.0.0:13133"]);
    assert!(config.access.tokens_file.is_some_and(|file| file.starts_with(&config.store.path)));

    let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
    let exposed = dockerfile.lines().find_map(|line| line.strip_prefix("EXPOSE ")).unwrap();
    for endpoint in endpoints {
        let port = endpoint.rsplit(':').next().unwrap();
        assert!(exposed.split(' ').any(|exposed| exposed == port), "{port} is not in EXPOSE {exposed}");
    }
    assert!(dockerfile.contains(&format!("VOLUME {}\n", config.store.path.display())));
    // `weavergen health` in the image looks for run.json where the daemon writes it.
    let environment = Environment { xdg_data_home: Some("/var/lib".into()), ..Environment::default() };
    assert!(dockerfile.contains("ENV XDG_DATA_HOME=/var/lib\n"));
    assert_eq!(environment.data_folder(), Path::new(&config.store.path));
}
