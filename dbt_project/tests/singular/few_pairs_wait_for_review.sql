{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'int_identity_quality'}}, 'description': "Too many pairs of records may be one person and nobody has said so (Q-08 duplicate persons): customers are counted twice. `strata identity review` lists them."}) }}
select quality.*
from {{ ref('int_identity_quality') }} as quality
inner join {{ ref('int_run_policy') }} as policy
    on quality.pairs_unresolved_n
    > policy.identity_unresolved_share_max * (quality.pairs_made_n + quality.pairs_unresolved_n)
