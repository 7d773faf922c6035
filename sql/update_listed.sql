-- update_listed.sql: give the listed images what the metadata says; where it says nothing, the source's own word stays.
UPDATE listed SET
    label = COALESCE(d.label, listed.label),
    group_id = COALESCE(d.group_id, listed.group_id),
    kingdom = COALESCE(d.kingdom, listed.kingdom),
    phylum = COALESCE(d.phylum, listed.phylum),
    "class" = COALESCE(d."class", listed."class"),
    "order" = COALESCE(d."order", listed."order"),
    family = COALESCE(d.family, listed.family),
    genus = COALESCE(d.genus, listed.genus),
    species = COALESCE(d.species, listed.species),
    common_name = COALESCE(d.common_name, listed.common_name),
    license = COALESCE(d.license, listed.license),
    author = COALESCE(d.author, listed.author),
    url = COALESCE(d.url, listed.url),
    metadata = COALESCE(d.metadata, listed.metadata)
FROM matches AS m JOIN described AS d ON d.value = m.value
WHERE m.position = listed.position
