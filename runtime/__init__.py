"""What every process needs to run: settings, Kafka, the device registry, logging, health."""
