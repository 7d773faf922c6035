-- update_described.sql: bring what is known about images up to date whose bytes are the same.
UPDATE images SET
    label = l.label,
    group_id = l.group_id,
    kingdom = l.kingdom,
    phylum = l.phylum,
    "class" = l."class",
    "order" = l."order",
    family = l.family,
    genus = l.genus,
    species = l.species,
    common_name = l.common_name,
    license = l.license,
    author = l.author,
    url = l.url,
    metadata = l.metadata
FROM listed AS l JOIN changes AS c ON c.position = l.position
WHERE l.key = images.key AND c.change = 'described'
