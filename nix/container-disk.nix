# The disk for KubeVirt: an OCI image whose one layer has the qcow2 file below /disk, as an archive that `skopeo copy` takes.
# Formats: the OCI image specification's image layout, manifest and configuration.
{
  runCommand,
  stdenv,
  jq,
  gnutar,
  gzip,
}:
# Type: mkContainerDisk :: { name, disk } -> derivation with the file `<name>.oci.tar`
{ name, disk }:
let
  release = import ./release.nix;
in
runCommand "${name}-container-disk"
  {
    nativeBuildInputs = [
      jq
      gnutar
      gzip
    ];
    passthru.file = "${name}.oci.tar";
    meta.description = "Container disk of ${name} for KubeVirt";
  }
  ''
    export LC_ALL=C TZ=UTC
    # KubeVirt's QEMU runs as user and group 107.
    archive="tar --create --sort=name --format=posix --pax-option=delete=atime,delete=ctime --mtime=@0 --numeric-owner"
    mkdir -p $out layer/disk layout/blobs/sha256
    cp ${disk}/${disk.qcow2} layer/disk/
    chmod 0755 layer/disk
    chmod 0444 layer/disk/*
    $archive --owner=107 --group=107 --directory=layer disk > layer.tar
    gzip --no-name --stdout layer.tar > layer.tar.gz

    # Puts a file into the layout under its hash, and says its descriptor.
    blob() {
      local hash=$(sha256sum "$1" | cut -d ' ' -f 1)
      cp "$1" layout/blobs/sha256/$hash
      jq --null-input --compact-output --arg type "$2" --arg digest "sha256:$hash" --argjson size "$(stat --format=%s "$1")" \
        '{ mediaType: $type, digest: $digest, size: $size }'
    }
    layer=$(blob layer.tar.gz application/vnd.oci.image.layer.v1.tar+gzip)
    jq --null-input --compact-output --arg diff "sha256:$(sha256sum layer.tar | cut -d ' ' -f 1)" '{
      created: "1980-01-01T00:00:00Z",
      architecture: "${stdenv.hostPlatform.go.GOARCH}",
      os: "linux",
      config: { Labels: {
        "org.opencontainers.image.title": "${name}",
        "org.opencontainers.image.version": "${release.version}"
      } },
      rootfs: { type: "layers", diff_ids: [ $diff ] },
      history: [ { created: "1980-01-01T00:00:00Z", created_by: "tinyboot" } ]
    }' > config.json
    config=$(blob config.json application/vnd.oci.image.config.v1+json)
    jq --null-input --compact-output --argjson config "$config" --argjson layer "$layer" '{
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: $config,
      layers: [ $layer ]
    }' > manifest.json
    blob manifest.json application/vnd.oci.image.manifest.v1+json |
      jq --compact-output '{
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.index.v1+json",
        manifests: [ . + { annotations: { "org.opencontainers.image.ref.name": "latest" } } ]
      }' > layout/index.json
    echo '{"imageLayoutVersion":"1.0.0"}' > layout/oci-layout
    chmod -R u=rwX,go=rX layout
    (cd layout && $archive --owner=0 --group=0 -- *) > $out/${name}.oci.tar
  ''
