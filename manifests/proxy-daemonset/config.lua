-- memcached-injector: sharded on cache/memcached, ring epoch 1
{
  format = 1,
  mode = "sharded",
  cluster = "cache/memcached",
  epoch = 1,
  consistency = "coherent",
  copies = 1,
  replicas = {
    {
      "memcached-0.memcached-headless.cache.svc.cluster.local.:11211",
      "memcached-1.memcached-headless.cache.svc.cluster.local.:11211",
      "memcached-2.memcached-headless.cache.svc.cluster.local.:11211",
    },
  },
}
